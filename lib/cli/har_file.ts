/**
 * The file of `--har`: created before the exchange, and written at its end.
 *
 * @module
 */

import { UsageError } from "./command_line.ts";
import type { ClientSettings } from "./client_settings.ts";
import { type HarEnd, HarRecorder } from "../client/har.ts";
import { whyUnreadable } from "../client/payload.ts";

/** A recorder with its file. */
export class HarFile extends HarRecorder {
  readonly #path: string;
  readonly #file: Deno.FsFile;

  private constructor(path: string, file: Deno.FsFile, asked: ConstructorParameters<typeof HarRecorder>[0]) {
    super(asked);
    this.#path = path;
    this.#file = file;
  }

  /**
   * Creates the file.
   *
   * @param path Its path.
   * @param url The server's URL.
   * @param exchange Its options.
   * @returns The recorder.
   * @throws {UsageError} If the file cannot be written.
   */
  static async create(path: string, url: string, exchange: ClientSettings["exchange"]): Promise<HarFile> {
    // Asked first: opening the file would prompt in a terminal.
    if ((await Deno.permissions.query({ name: "write", path })).state !== "granted") {
      throw new UsageError(
        `Option --har has no permission to write "${path}": run deno task -q client:har, or give --allow-write`,
      );
    }
    try {
      return new HarFile(path, await Deno.create(path), { url, ...exchange });
    } catch (error) {
      throw new UsageError(`Option --har cannot write "${path}": ${whyUnreadable(error)}`);
    }
  }

  /**
   * Writes the file, once.
   *
   * @param end The exchange's end.
   * @throws {UsageError} If the file cannot be written, as on a full disk.
   */
  async write(end: HarEnd): Promise<void> {
    const bytes = new TextEncoder().encode(this.toJson(end));
    using file = this.#file;
    try {
      for (let at = 0; at < bytes.byteLength;) at += await file.write(bytes.subarray(at));
    } catch (error) {
      throw new UsageError(`Option --har cannot write "${this.#path}": ${whyUnreadable(error)}`);
    }
  }
}
