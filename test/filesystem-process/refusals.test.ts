import { pino } from "pino";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Refusals } from "../../src/filesystem-process/messages.ts";
import { RefusalLog } from "../../src/filesystem-process/refusals.ts";
import { S3Error, type S3ErrorKind } from "../../src/s3/object-store.ts";

let lines: Record<string, unknown>[] = [];
let told: Refusals[] = [];
let refusals: RefusalLog;

beforeEach(() => {
	vi.useFakeTimers();
	lines = [];
	told = [];
	refusals = new RefusalLog({
		folder: "data",
		log: pino({ base: null }, { write: (line) => void lines.push(JSON.parse(line) as Record<string, unknown>) }),
		redact: (text) => text.replaceAll("hush", "[redacted]"),
		tell: (news) => void told.push(news),
	});
});
afterEach(() => {
	vi.useRealTimers();
});

function fail(operation: string, key: string, kind: S3ErrorKind, code?: string): void {
	const error = new S3Error(kind, `${operation} ${key}: ${code} (hush, Because.)`, { status: 403, code });
	refusals.take({ kind: "failure", operation, key, error });
}

test("has one line a minute for each kind of refusal, with key, code and the server's words, and says how many more there were", () => {
	for (let index = 0; index < 5; index++) fail("GetObject", `a${index}`, "DENIED", "AccessDenied");
	fail("PutObject", "b", "DENIED", "AccessDenied");
	fail("GetObject", "c", "UNAVAILABLE", "ECONNREFUSED");
	expect(lines).toMatchObject([
		{
			folder: "data",
			operation: "GetObject",
			key: "a0",
			serverCode: "AccessDenied",
			error: expect.stringContaining("Because."),
			hint: expect.stringContaining("docs/install.md"),
			msg: "the server has refused a request",
		},
		{ operation: "PutObject", key: "b" },
		{ operation: "GetObject", key: "c", serverCode: "ECONNREFUSED", msg: "a request failed for too long" },
	]);
	vi.advanceTimersByTime(59_000);
	fail("GetObject", "a6", "DENIED", "AccessDenied");
	expect(lines).toHaveLength(3);
	vi.advanceTimersByTime(2000);
	fail("GetObject", "a7", "DENIED", "AccessDenied");
	expect(lines.at(-1)).toMatchObject({ key: "a7", others: 5 });
	vi.advanceTimersByTime(61_000);
	fail("GetObject", "a8", "DENIED", "AccessDenied");
	expect(lines.at(-1)).not.toHaveProperty("others");
});

test("tells the launcher the first at once and the others once a second, all counted and without secrets", () => {
	fail("GetObject", "a", "DENIED", "AccessDenied");
	expect(told).toHaveLength(1);
	fail("GetObject", "b", "DENIED", "AccessDenied");
	fail("GetObject", "c", "DENIED", "InvalidObjectState");
	expect(told).toHaveLength(1);
	vi.advanceTimersByTime(1000);
	expect(told.at(-1)).toEqual({
		counts: { AccessDenied: 2, InvalidObjectState: 1 },
		last: {
			at: expect.any(String),
			operation: "GetObject",
			code: "InvalidObjectState",
			message: "GetObject c: InvalidObjectState ([redacted], Because.)",
			hint: expect.stringContaining("restore"),
		},
	});
	vi.advanceTimersByTime(10_000);
	expect(told).toHaveLength(2);
	fail("GetObject", "d", "REFUSED");
	expect(told.at(-1)).toMatchObject({ counts: { REFUSED: 1 }, last: { code: "REFUSED" } });
});

test("bounds what a server can make it remember, whatever it calls its errors", () => {
	for (let index = 0; index < 1000; index++) fail("GetObject", "a", "REFUSED", `Code${index}`);
	fail("GetObject", "a", "REFUSED", 'x"} 1\nforged');
	fail("GetObject", "a", "REFUSED", "__proto__");
	fail("GetObject", "a", "REFUSED", "constructor");
	vi.advanceTimersByTime(1000);
	const counts = told.at(-1)?.counts ?? {};
	expect(Object.keys(counts)).toHaveLength(33);
	expect(counts["other"]).toBe(1000 - 32 + 3);
	expect(told.at(-1)?.last.hint).toBeUndefined();
});
