import { S3Error } from "./object-store.ts";

/** What newer servers can and others may not, and the last two what not every server or key can do with an object that others have made. */
export type Ability =
	/** CRC-32 of what is sent: else it is an MD5 sum. */
	| "checksums"
	/** Writing only what is not there: else it is looked up before. */
	| "conditions"
	/** Reading only a certain version: else the answer's is compared. */
	| "conditional-reads"
	/** Deleting only a certain version. */
	| "conditional-deletes"
	/** Many keys in one request. */
	| "multi-delete"
	/** An object keeps its storage class: else it gets the one of new objects. */
	| "storage-class"
	/** An object keeps its tags: else it has none. */
	| "tags";

/** What to do without, of what was used, because the server seems to refuse it; undefined: the error is about something else. */
export function concessionFor(error: unknown, used: readonly Ability[]): Ability | undefined {
	if (!(error instanceof S3Error)) return undefined;
	const { kind, status, code, message } = error;
	// It takes permissions of their own, and no answer says which one was missing.
	if (kind === "DENIED" && code === "AccessDenied" && used.includes("tags")) return "tags";
	// Not what we have found to be wrong with an answer.
	const isRefusal = (kind === "UNSUPPORTED" && status >= 400) || (kind === "REFUSED" && status === 400);
	if (!isRefusal) return undefined;
	const named = used.find((ability) => words[ability].test(message));
	if (named !== undefined) return named;
	// It says that something is not implemented, but not what.
	return kind === "UNSUPPORTED" ? used[0] : undefined;
}

/** Those that are about the server or the key, and not about one object. */
export function isLasting(ability: Ability): boolean {
	return ability !== "storage-class" && ability !== "tags";
}

const words: Readonly<Record<Ability, RegExp>> = {
	checksums: /checksum|crc32/i,
	conditions: /if-none-match|precondition|conditional/i,
	"conditional-reads": /if-match|precondition|conditional/i,
	"conditional-deletes": /if-match|etag|precondition|conditional|malformed/i,
	"multi-delete": /delete/i,
	"storage-class": /storage.?class/i,
	tags: /tag/i,
};
