import type { Ability } from "./abilities.ts";
import { S3Error } from "./object-store.ts";

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

/** What is not about one object only, and need not be tried with the next one. */
export function isLasting(ability: Ability): boolean {
	return ability !== "storage-class" && ability !== "tags";
}

const words: Readonly<Record<Ability, RegExp>> = {
	checksums: /checksum|crc32/i,
	conditions: /if-none-match|precondition|conditional/i,
	"conditional-reads": /if-match|precondition|conditional/i,
	"conditional-deletes": /if-match|etag|precondition|conditional|malformed/i,
	"multi-delete": /delete/i,
	"part-copies": /copy/i,
	"storage-class": /storage.?class/i,
	tags: /tag/i,
};
