import { S3Error } from "./object-store.ts";

/** What newer servers can and others may not. */
export type Ability =
	/** CRC-32 of what is sent: else it is an MD5 sum. */
	| "checksums"
	/** Writing only what is not there: else it is looked up before. */
	| "conditions"
	/** Deleting only a certain version. */
	| "conditional-deletes"
	/** Many keys in one request. */
	| "multi-delete";

/** What to do without, of what was used, because the server seems to refuse it; undefined: the error is about something else. */
export function concessionFor(error: unknown, used: readonly Ability[]): Ability | undefined {
	if (!(error instanceof S3Error)) return undefined;
	const { kind, status, message } = error;
	const isRefusal = kind === "UNSUPPORTED" || (kind === "REFUSED" && status === 400);
	if (!isRefusal) return undefined;
	const named = used.find((ability) => words[ability].test(message));
	if (named !== undefined) return named;
	// It says that something is not implemented, but not what.
	return kind === "UNSUPPORTED" ? used[0] : undefined;
}

const words: Readonly<Record<Ability, RegExp>> = {
	checksums: /checksum|crc32/i,
	conditions: /if-none-match|precondition|conditional/i,
	"conditional-deletes": /if-match|etag|precondition|conditional|malformed/i,
	"multi-delete": /delete/i,
};
