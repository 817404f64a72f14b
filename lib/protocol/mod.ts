/**
 * RFC 6455 as pure code: bytes in, values and bytes out. Nothing here opens a socket, reads a clock or calls Deno: a
 * browser or Node runs it as it is.
 *
 * @module
 */

export {
  DEFAULT_MAX_MESSAGE_BYTES,
  type Fragment,
  type IncompleteMessage,
  MessageAssembler,
  type MessageAssemblerOptions,
} from "./assembler.ts";
export {
  assertSendableClose,
  CLOSE_CODES,
  type CloseCodeInfo,
  type CloseEnd,
  type CloseFrame,
  type CloseOutcome,
  type CloseRecord,
  describeCloseCode,
  describeCloseFrame,
  describeConfirmation,
  describeEnd,
  encodeClosePayload,
  type ExpectedClose,
  isSendableCloseCode,
  MAX_CLOSE_REASON_BYTES,
  parseClosePayload,
  type TcpEnd,
  verifyClose,
} from "./close.ts";
export { Endpoint } from "./endpoint.ts";
export {
  type ConnectionEnd,
  EndpointError,
  type EndpointHandler,
  type EndpointOptions,
  type EndpointPhase,
  type EndpointRole,
  type MessageInflater,
  type RelayHandler,
} from "./endpoint_handler.ts";
export {
  chooseDeflate,
  type DeflateAgreement,
  type DeflateChoice,
  type DeflateDirection,
  type DeflateParameters,
  type DeflateVerification,
  type DeflateWish,
  formatDeflate,
  verifyDeflate,
} from "./deflate.ts";
export { type Extension, formatExtensions, parseExtensions } from "./extension.ts";
export { ProtocolError, type ProtocolErrorCode } from "./error.ts";
export {
  encodeFrame,
  type EncodeFrameOptions,
  FrameDecoder,
  type FrameDecoderOptions,
  type FrameHeader,
  type FrameOrigin,
  type FrameSink,
  MAX_CONTROL_PAYLOAD_BYTES,
  OPCODE,
} from "./frame.ts";
export { applyMask } from "./mask.ts";
export { basicCredentials } from "./authority.ts";
export {
  acceptKeyFor,
  createKey,
  encodeRequest,
  type ExpectedResponse,
  type UpgradeRequest,
  type UpgradeResponse,
  verifyResponse,
} from "./handshake.ts";
export { type HttpHead } from "./http_lines.ts";
export { byteLengthOf, kindOf, type Message, type MessageKind } from "./message.ts";
export { decodeUtf8, isUtf8, Utf8Checker } from "./utf8.ts";
