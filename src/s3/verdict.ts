import { isOfServer } from "./of-server.ts";
import { clockSkewMs } from "./clock-skew.ts";
import type { Answer, ExchangeError } from "./http/connection.ts";
import type { Credentials } from "./location.ts";
import { S3Error, type S3ErrorKind } from "./object-store.ts";
import { printable } from "./printable.ts";
import { parseServerError } from "./server-error.ts";
import { rootName } from "./xml.ts";

/** What to do about the outcome of one try. */
export type Verdict =
	| { readonly kind: "ok" }
	| { readonly kind: "failed"; readonly error: S3Error }
	/** May pass: to be tried again, the first time after about `baseMs` and not before `afterMs`. */
	| {
			readonly kind: "retry";
			readonly error: S3Error;
			readonly baseMs: number;
			readonly afterMs: number;
			/** The server's own answer, and we do not understand it: it will hardly be another one. */
			readonly isOdd?: boolean;
	  }
	/** The answer to a HEAD cannot say what is wrong. */
	| { readonly kind: "ask"; readonly error: S3Error }
	/** Our clock is wrong; the server's says this. */
	| { readonly kind: "clock"; readonly error: S3Error; readonly serverMs: number }
	/** The bucket is elsewhere. */
	| { readonly kind: "region"; readonly error: S3Error; readonly region: string }
	/** The server does not know these keys, or not any more. */
	| { readonly kind: "credentials"; readonly error: S3Error };

export interface Place {
	readonly operation: string;
	readonly key?: string | undefined;
}

export interface Facts extends Place {
	readonly isHead: boolean;
	/** What it means that a condition does not hold. */
	readonly preconditionMeans: S3ErrorKind;
	/** What is wrong with an answer of a successful status; undefined: nothing. */
	readonly check: ((answer: Answer) => string | undefined) | undefined;
	readonly region: string;
	readonly credentials: Credentials | undefined;
	/** When the answer came, by the clock that the request was signed by. */
	readonly now: Date;
}

/** For what the server asks for less of, and for everything else. */
const throttledBaseMs = 200;
const failedBaseMs = 100;

export function judgeAnswer(answer: Answer, facts: Facts): Verdict {
	const { status, headers } = answer;
	const text = answer.body.length > 0 && answer.body.length <= 64 * 1024 ? answer.body.toString() : "";
	// A copy and the completion of an upload begin their answer before they know how they end.
	const isSuccess = status >= 200 && status < 300 && rootName(text) !== "Error";
	if (isSuccess) {
		const problem = facts.check?.(answer);
		if (problem === undefined) return { kind: "ok" };
		const isOdd = isOfServer(answer);
		const error = fault("UNAVAILABLE", problem, facts, status);
		return { kind: "retry", error, baseMs: failedBaseMs, afterMs: 0, isOdd };
	}
	const told = parseServerError(text, facts.credentials);
	const code = told?.code ?? minioCode(headers);
	const error = new S3Error(kindOf(status, code, facts), describe(facts, status, code, told?.message), {
		status,
		code,
	});

	const date = headers.get("date") ?? told?.serverTime?.toISOString();
	const isSkewed = clockSkewMs(date, facts.now) !== undefined;
	if (isSkewed && status === 403 && mayBeTime(code)) return { kind: "clock", error, serverMs: Date.parse(date ?? "") };
	const region = headers.get("x-amz-bucket-region") ?? told?.region;
	const mayBeRegion = status === 301 || status === 307 || status === 400 || status === 403;
	if (mayBeRegion && isElsewhere(region, facts.region) && (code === undefined || regionCodes.has(code)))
		return { kind: "region", error, region };
	if (facts.isHead && code === undefined && [301, 307, 400, 403].includes(status)) return { kind: "ask", error };
	if (code !== undefined && credentialCodes.has(code)) return { kind: "credentials", error };
	if (isTemporary(status, code)) {
		const baseMs = error.kind === "THROTTLED" ? throttledBaseMs : failedBaseMs;
		return { kind: "retry", error, baseMs, afterMs: retryAfterMs(headers) };
	}
	return { kind: "failed", error };
}

export function judgeFailure(thrown: ExchangeError, place: Place): Verdict {
	const { code, message } = thrown;
	if (code === "ABORTED") return { kind: "failed", error: fault("ABORTED", "given up", place) };
	const error = new S3Error("UNAVAILABLE", `${describePlace(place)}: ${printable(message, 200)}`, {
		code,
		cause: thrown,
	});
	// It does not get another certificate within a minute.
	if (isCertificateProblem(code)) return { kind: "failed", error };
	return { kind: "retry", error, baseMs: failedBaseMs, afterMs: 0, isOdd: code === "EMSGSIZE" };
}

const kindsByCode = new Map<string, S3ErrorKind>([
	["NoSuchKey", "NOT_FOUND"],
	["NoSuchUpload", "NOT_FOUND"],
	["NoSuchVersion", "NOT_FOUND"],
	["NoSuchBucket", "NO_BUCKET"],
	// Another region or endpoint that is not named, or that was tried.
	["PermanentRedirect", "NO_BUCKET"],
	["IncorrectEndpoint", "NO_BUCKET"],
	["IllegalLocationConstraintException", "NO_BUCKET"],
	["InvalidRegion", "NO_BUCKET"],
	["Redirect", "UNAVAILABLE"],
	["TemporaryRedirect", "UNAVAILABLE"],
	["AccessDenied", "DENIED"],
	["AuthorizationHeaderMalformed", "DENIED"],
	// It is in an archive, and has to be restored first.
	["InvalidObjectState", "DENIED"],
	["ObjectNotInActiveTierError", "DENIED"],
	["ConditionalRequestConflict", "UNAVAILABLE"],
	["OperationAborted", "UNAVAILABLE"],
	["RequestTimeout", "UNAVAILABLE"],
	["IncompleteBody", "UNAVAILABLE"],
	["KeyTooLongError", "NAME_TOO_LONG"],
	["KeyTooLong", "NAME_TOO_LONG"],
	// It says "unsupported characters" and takes all that can be sent: a part of the key is longer than its disk's names can be.
	["XMinioInvalidObjectName", "NAME_TOO_LONG"],
	["BadDigest", "CHECKSUM_WRONG"],
	["XAmzContentChecksumMismatch", "CHECKSUM_WRONG"],
	["XAmzContentSHA256Mismatch", "CHECKSUM_WRONG"],
	["NotImplemented", "UNSUPPORTED"],
	["MethodNotAllowed", "UNSUPPORTED"],
	// The names that servers have for "no room": AWS has no end, the others do.
	["QuotaExceeded", "NO_SPACE"],
	["BucketQuotaExceeded", "NO_SPACE"],
	["XMinioAdminBucketQuotaExceeded", "NO_SPACE"],
	["XMinioStorageFull", "NO_SPACE"],
	["StorageFull", "NO_SPACE"],
	["InsufficientStorage", "NO_SPACE"],
	["InsufficientCapacity", "NO_SPACE"],
	["OutOfStorageSpace", "NO_SPACE"],
	["TooManyRequests", "THROTTLED"],
	["RequestLimitExceeded", "THROTTLED"],
	["Throttling", "THROTTLED"],
	["ThrottlingException", "THROTTLED"],
	["SlowDown", "THROTTLED"],
	["SlowDownRead", "THROTTLED"],
	["SlowDownWrite", "THROTTLED"],
	["ServerBusy", "THROTTLED"],
	["InternalError", "UNAVAILABLE"],
]);

/** Of the error of one key among many: without an HTTP status of its own. */
export function kindOfCode(code: string | undefined): S3ErrorKind {
	return (code === undefined ? undefined : kindsByCode.get(code)) ?? "REFUSED";
}

function kindOf(status: number, code: string | undefined, facts: Facts): S3ErrorKind {
	const known = code === undefined ? undefined : kindsByCode.get(code);
	if (known !== undefined) return known;
	if (code !== undefined && credentialCodes.has(code)) return "DENIED";
	switch (status) {
		case 401:
		case 403:
			return "DENIED";
		case 404:
		case 410:
			return "NOT_FOUND";
		case 405:
		case 501:
			return "UNSUPPORTED";
		case 408:
		case 425:
			return "UNAVAILABLE";
		// Of a condition on what is written, some servers say this.
		case 304:
		case 412:
			return facts.preconditionMeans;
		case 416:
			// Ranges are only asked for within the size that the version had.
			return "OBJECT_REPLACED";
		case 429:
		case 503:
			return "THROTTLED";
		case 307:
		case 407:
			return "UNAVAILABLE";
		case 301:
		case 302:
		case 308:
			return "NO_BUCKET";
		case 507:
			return "NO_SPACE";
		default:
			return status >= 500 ? "UNAVAILABLE" : "REFUSED";
	}
}

function isTemporary(status: number, code: string | undefined): boolean {
	if (code !== undefined) {
		const kind = kindsByCode.get(code);
		if (kind === "UNAVAILABLE" || kind === "THROTTLED") return true;
		// Something on the way changed the bytes; the caller decides how often that may be.
		if (kind !== undefined) return false;
	}
	if (status === 307 || status === 408 || status === 425 || status === 429) return true;
	return status >= 500 && status !== 501 && status !== 505 && status !== 507;
}

/** Also AccessDenied: some servers look at the time last. */
function mayBeTime(code: string | undefined): boolean {
	return (
		code === undefined ||
		["RequestTimeTooSkewed", "RequestExpired", "AccessDenied", "SignatureDoesNotMatch", "InvalidSignature"].includes(
			code,
		)
	);
}

const regionCodes = new Set([
	"PermanentRedirect",
	"TemporaryRedirect",
	"Redirect",
	"AuthorizationHeaderMalformed",
	"IllegalLocationConstraintException",
	"IncorrectEndpoint",
	"InvalidRegion",
]);

const credentialCodes = new Set([
	"InvalidAccessKeyId",
	"XAdminUserNotFound",
	"SignatureDoesNotMatch",
	"ExpiredToken",
	"ExpiredTokenException",
	"InvalidToken",
	"InvalidTokenId",
	"InvalidClientTokenId",
	"TokenRefreshRequired",
	"UnrecognizedClientException",
]);

function isElsewhere(region: string | undefined, ours: string): region is string {
	return region !== undefined && region !== ours && /^[a-z0-9-]{1,64}$/.test(region);
}

/** MinIO tells in a header what HEAD leaves no body for. */
function minioCode(headers: ReadonlyMap<string, string>): string | undefined {
	const code = headers.get("x-minio-error-code");
	return code !== undefined && /^\w{1,64}$/.test(code) ? code : undefined;
}

/** https://www.rfc-editor.org/rfc/rfc9110#name-retry-after, in seconds; longer than half a minute is not believed. */
function retryAfterMs(headers: ReadonlyMap<string, string>): number {
	const seconds = headers.get("retry-after") ?? "";
	return /^\d{1,6}$/.test(seconds) ? Math.min(30, Number(seconds)) * 1000 : 0;
}

function isCertificateProblem(code: string): boolean {
	return /^(CERT_|CRL_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_(GET|VERIFY)|HOSTNAME_MISMATCH|ERR_TLS_CERT)/.test(code);
}

export function describePlace({ operation, key }: Place): string {
	return key === undefined ? operation : `${operation} ${printable(key, 300)}`;
}

function describe(facts: Facts, status: number, code: string | undefined, message: string | undefined): string {
	return `${describePlace(facts)}: ${code ?? `status ${status}`}${message === undefined ? "" : ` (${message})`}`;
}

function fault(kind: S3ErrorKind, problem: string, place: Place, status = 0): S3Error {
	return new S3Error(kind, `${describePlace(place)}: ${problem}`, { status });
}
