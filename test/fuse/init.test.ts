import { expect, test } from "vitest";
import { initFlags } from "../../src/fuse/abi.ts";
import { Request } from "../../src/fuse/decode.ts";
import { decodeOffer, encodeConnection, encodeVersion, negotiate, type KernelOffer } from "../../src/fuse/init.ts";

const mebibyte = 1024 ** 2;
const all = (1n << 43n) - 1n;
const linux618: KernelOffer = { major: 7, minor: 45, maxReadAheadBytes: 131_072, flags: all };

function encodedFor(offer: KernelOffer): Buffer {
	const result = negotiate(offer, mebibyte);
	if (result.kind !== "agreed") throw new Error(result.kind);
	const bytes = Buffer.alloc(64, 0xee);
	expect(encodeConnection(new DataView(bytes.buffer, bytes.byteOffset), 0, result.connection)).toBe(64);
	return bytes;
}

test("reads what the kernel offers, its upper flags only if it says that there are some", () => {
	const bytes = Buffer.alloc(40 + 64);
	const request = new Request(bytes);
	[7, 45, 131_072, 0x4000_0009, 0x10].forEach((word, index) => bytes.writeUInt32LE(word, 40 + 4 * index));
	expect(decodeOffer(request)).toEqual({
		major: 7,
		minor: 45,
		maxReadAheadBytes: 131_072,
		flags: 0x10_4000_0009n,
	});
	bytes.writeUInt32LE(9, 40 + 12);
	expect(decodeOffer(request).flags).toBe(9n);
});

test("takes large requests from a kernel that has them", () => {
	const bytes = encodedFor(linux618);
	expect(bytes.readUInt32LE(20)).toBe(mebibyte);
	expect(bytes.readUInt16LE(28)).toBe(256);
	expect([bytes.readUInt16LE(16), bytes.readUInt16LE(18), bytes.readUInt32LE(24)]).toEqual([64, 48, 1]);
	const flags = BigInt(bytes.readUInt32LE(12)) | (BigInt(bytes.readUInt32LE(32)) << 32n);
	for (const flag of ["maxPages", "readdirplus", "extended", "directIoMmap", "explicitInvalidateData"] as const)
		expect(flags & initFlags[flag], flag).toBe(initFlags[flag]);
	// Those would bring other structures, or take locks from the kernel.
	for (const flag of [1n, 10n, 16n, 29n]) expect(flags & (1n << flag), String(flag)).toBe(0n);
});

test("takes nothing that the kernel does not offer", () => {
	const bytes = encodedFor({ major: 7, minor: 27, maxReadAheadBytes: 131_072, flags: (1n << 22n) - 1n });
	expect(bytes.readUInt32LE(4)).toBe(27);
	expect(bytes.readUInt32LE(12) >>> 22).toBe(0);
	expect([bytes.readUInt32LE(20), bytes.readUInt16LE(28), bytes.readUInt32LE(32)]).toEqual([131_072, 0, 0]);
});

test("does not lower a read-ahead that was raised after the kernel had offered its own", () => {
	expect(encodedFor(linux618).readUInt32LE(8)).toBeGreaterThanOrEqual(mebibyte);
});

test("tells its version to a kernel with a newer protocol, and refuses one that is too old", () => {
	expect(negotiate({ ...linux618, major: 8 }, mebibyte)).toEqual({ kind: "retry" });
	expect(negotiate({ ...linux618, minor: 22 }, mebibyte)).toEqual({ kind: "too-old" });
	expect(negotiate({ ...linux618, major: 6 }, mebibyte)).toEqual({ kind: "too-old" });
	const bytes = Buffer.alloc(64);
	encodeVersion(new DataView(bytes.buffer, bytes.byteOffset), 0);
	expect(bytes.readUInt32LE(0)).toBe(7);
});

test("agrees on something that JSON can hold", () => {
	const result = negotiate(linux618, mebibyte);
	expect(JSON.parse(JSON.stringify(result))).toEqual(result);
});
