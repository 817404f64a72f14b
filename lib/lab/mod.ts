/**
 * The lab: a peer that misbehaves on request, to test clients.
 *
 * @module
 */

export { DEFAULT_MAX_CONNECTION_MS, MAX_CONNECTIONS, serveLab, type ServeLabOptions } from "./lab.ts";
export { listSteps, type StepListing } from "./program.ts";
export type { StepGroup } from "./step.ts";
