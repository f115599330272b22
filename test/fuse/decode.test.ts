import fc from "fast-check";
import { expect, test } from "vitest";
import { opcodes } from "../../src/fuse/abi.ts";
import { Call, CallsInFlight } from "../../src/fuse/call.ts";
import { decodeChanges, decodeChangesHandle, Request } from "../../src/fuse/decode.ts";

/** A request as the kernel sends it, in a buffer that held another one before. */
function request(body: Buffer, header: { opcode?: number; unique?: bigint; node?: number } = {}): Request {
	const bytes = Buffer.alloc(40 + body.length + 100, 0xee);
	bytes.writeUInt32LE(40 + body.length, 0);
	bytes.writeUInt32LE(header.opcode ?? opcodes.lookup, 4);
	bytes.writeBigUInt64LE(header.unique ?? 2n, 8);
	bytes.writeBigUInt64LE(BigInt(header.node ?? 1), 16);
	bytes.writeUInt32LE(1000, 24);
	bytes.writeUInt32LE(1001, 28);
	bytes.writeUInt32LE(4321, 32);
	body.copy(bytes, 40);
	return new Request(bytes);
}

test("reads the header", () => {
	const { lengthBytes, opcode, uniqueLow, uniqueHigh, node, uid, gid, pid } = request(Buffer.alloc(8), {
		opcode: 27,
		unique: 0x8000_0001_0000_0006n,
		node: 2 ** 40 + 3,
	});
	expect({ lengthBytes, opcode, uniqueLow, uniqueHigh, node, uid, gid, pid }).toEqual({
		lengthBytes: 48,
		opcode: 27,
		uniqueLow: 6,
		uniqueHigh: 0x8000_0001,
		node: 2 ** 40 + 3,
		uid: 1000,
		gid: 1001,
		pid: 4321,
	});
});

test("reads 64-bit numbers, negative ones where they can be", () => {
	const body = Buffer.alloc(24);
	body.writeBigUInt64LE(2n ** 52n + 7n, 0);
	body.writeBigInt64LE(-5_000_000_000n, 8);
	body.writeUInt32LE(0xffff_ffff, 16);
	const read = request(body);
	expect([read.uint64(0), read.int64(8), read.uint32(16)]).toEqual([2 ** 52 + 7, -5_000_000_000, 0xffff_ffff]);
});

test("reads every name that is UTF-8", () => {
	const name = fc.string({ unit: "grapheme", minLength: 1 }).filter((text) => !text.includes("\0"));
	fc.assert(
		fc.property(name, name, (first, second) => {
			const read = request(Buffer.concat([Buffer.alloc(8), Buffer.from(`${first}\0${second}\0`)]));
			expect(read.names(8)).toEqual([first, second]);
			expect(read.name(8)).toBe(first);
			expect(read.afterName(8)).toBe(8 + Buffer.byteLength(first) + 1);
		}),
	);
});

test("reads the replacement character as a name like others", () => {
	expect(request(Buffer.from("a\u{FFFD}\0")).name(0)).toBe("a\u{FFFD}");
});

test("refuses names that are not UTF-8, with the error that it is told", () => {
	const read = request(Buffer.from([0x61, 0xff, 0]));
	expect(() => read.name(0)).toThrow(expect.objectContaining({ errno: "EILSEQ" }));
	expect(() => read.name(0, "ENOENT")).toThrow(expect.objectContaining({ errno: "ENOENT" }));
});

test("never reads beyond the request", () => {
	const read = request(Buffer.from("abc"));
	expect(() => read.name(0)).toThrow(RangeError);
	expect(() => read.data(0, 4)).toThrow(RangeError);
	expect(read.data(0, 3).toString()).toBe("abc");
});

test("reads what SETATTR changes, and nothing else", () => {
	const body = Buffer.alloc(88, 0x77);
	const valid = (flags: number): Request => {
		body.writeUInt32LE(flags, 0);
		return request(body, { opcode: opcodes.setattr });
	};
	body.writeBigUInt64LE(9n, 8);
	body.writeBigUInt64LE(2n ** 33n, 16);
	body.writeBigInt64LE(-2n, 32);
	body.writeUInt32LE(500_000_000, 56);
	body.writeBigInt64LE(1_700_000_000n, 40);
	body.writeUInt32LE(123_456_789, 60);
	body.writeUInt32LE(0o100_640, 68);
	body.writeUInt32LE(12, 76);
	body.writeUInt32LE(34, 80);
	expect(decodeChanges(valid(0))).toEqual({});
	expect(decodeChangesHandle(valid(0))).toBeUndefined();
	expect(decodeChanges(valid(1 | 2 | 4 | 8 | 16 | 32 | 64))).toEqual({
		mode: 0o100_640,
		uid: 12,
		gid: 34,
		sizeBytes: 2 ** 33,
		atime: { seconds: -2, nanoseconds: 500_000_000 },
		mtime: { seconds: 1_700_000_000, nanoseconds: 123_456_789 },
	});
	expect(decodeChangesHandle(valid(64))).toBe(9);
	expect(decodeChanges(valid(16 | 32 | 128 | 256))).toEqual({ atime: "now", mtime: "now" });
});

test("finds calls by all 64 bits of what the kernel calls them", () => {
	const calls = new CallsInFlight();
	const uniques = [2n, 4n, 2n | (1n << 32n), 2n | (1n << 63n), 2n ** 53n, 2n ** 53n + 2n];
	const made = uniques.map((unique) => new Call(request(Buffer.alloc(8), { unique })));
	for (const call of made) calls.add(call);
	expect(calls.count).toBe(6);
	for (const call of made) {
		expect(calls.find(call.uniqueLow, call.uniqueHigh)).toBe(call);
		calls.delete(call);
		calls.delete(call);
		expect(calls.find(call.uniqueLow, call.uniqueHigh)).toBeUndefined();
	}
	expect(calls.count).toBe(0);
});

test("aborts a signal also when it is asked for after the interrupt", () => {
	const [early, late] = [new Call(request(Buffer.alloc(8))), new Call(request(Buffer.alloc(8)))];
	const { signal } = early;
	expect(signal.aborted).toBe(false);
	early.interrupt();
	late.interrupt();
	expect([signal.aborted, late.signal.aborted]).toEqual([true, true]);
	expect(signal.reason).toMatchObject({ errno: "EINTR" });
});
