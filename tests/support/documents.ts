/** The documents of the project, for their tests. */

const ROOT = new URL("../../", import.meta.url);

/** Resolves a path from the root of the project. */
export function placeOf(path: string): URL {
  return new URL(path, ROOT);
}

/** Reads a document. */
export function read(path: string): Promise<string> {
  return Deno.readTextFile(placeOf(path));
}

/** The paths of the documents that tests hold to the code: the README and all of docs/. */
export async function documents(): Promise<string[]> {
  const paths = ["README.md"];
  for await (const { name } of Deno.readDir(placeOf("docs/"))) if (name.endsWith(".md")) paths.push(`docs/${name}`);
  return paths.sort();
}

/** The text of the section with this heading. */
export function section(document: string, heading: string): string {
  const [, text = ""] = document.split(`\n${heading}\n`);
  return text.split(/\n## /)[0] ?? "";
}

/** The first code block in a language. */
export function codeBlock(text: string, language: string): string {
  return new RegExp(`\`\`\`${language}\n(.*?)\`\`\``, "s").exec(text)?.[1] ?? "";
}
