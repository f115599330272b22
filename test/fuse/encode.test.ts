import fc from "fast-check";
import { expect, test } from "vitest";
import { Page } from "../../src/fuse/directory-page.ts";
import {
	encodeAttributes,
	encodeCount,
	encodeCreated,
	encodeEntry,
	encodeOpened,
	encodeStatistics,
	type Encoder,
} from "../../src/fuse/encode.ts";
import type { Attributes, Entry } from "../../src/fuse/filesystem.ts";
import { timeOf } from "../../src/fuse/time.ts";

/** Encoded into a buffer that held something else. */
function encoded<T>(encode: Encoder<T>, value: T): Buffer {
	const bytes = Buffer.alloc(256, 0xee);
	const length = encode(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 16, value);
	expect(bytes.subarray(16 + length).every((byte) => byte === 0xee)).toBe(true);
	return bytes.subarray(16, 16 + length);
}

const attributes: Attributes = {
	ino: 2 ** 40 + 5,
	mode: 0o100_644,
	nlink: 1,
	uid: 1000,
	gid: 0xffff_fffe,
	sizeBytes: 2 ** 35 + 1,
	atime: timeOf(1_700_000_000_000.25),
	mtime: { seconds: -1, nanoseconds: 998_500_001 },
	ctime: timeOf(4_294_967_296_000),
};

const entry: Entry = { node: 2 ** 33 + 7, attributes, entryValidMs: 1500, attributesValidMs: 60_000 };

/** The fields of struct fuse_attr at an offset. */
function readAttributes(bytes: Buffer, at: number): Record<string, bigint | number> {
	const words = (...offsets: number[]): number[] => offsets.map((offset) => bytes.readUInt32LE(at + offset));
	const [atimeNs, mtimeNs, ctimeNs, mode, nlink, uid, gid, rdev, blockSize, flags] = words(
		48,
		52,
		56,
		60,
		64,
		68,
		72,
		76,
		80,
		84,
	) as [number, number, number, number, number, number, number, number, number, number];
	const [ino, size, blocks, atime, mtime, ctime] = [0, 8, 16, 24, 32, 40].map((offset) =>
		bytes.readBigInt64LE(at + offset),
	) as [bigint, bigint, bigint, bigint, bigint, bigint];
	return {
		ino,
		size,
		blocks,
		atime,
		mtime,
		ctime,
		atimeNs,
		mtimeNs,
		ctimeNs,
		mode,
		nlink,
		uid,
		gid,
		rdev,
		blockSize,
		flags,
	};
}

const expectedAttributes = {
	ino: 2n ** 40n + 5n,
	size: 2n ** 35n + 1n,
	blocks: 2n ** 26n + 1n,
	atime: 1_700_000_000n,
	atimeNs: 250_000,
	mtime: -1n,
	mtimeNs: 998_500_001,
	ctime: 4_294_967_296n,
	ctimeNs: 0,
	mode: 0o100_644,
	nlink: 1,
	uid: 1000,
	gid: 0xffff_fffe,
	rdev: 0,
	blockSize: 4096,
	flags: 0,
};

test("writes an entry", () => {
	const bytes = encoded(encodeEntry, entry);
	expect(bytes.length).toBe(128);
	expect([0, 8, 16, 24].map((at) => bytes.readBigUInt64LE(at))).toEqual([2n ** 33n + 7n, 0n, 1n, 60n]);
	expect([32, 36].map((at) => bytes.readUInt32LE(at))).toEqual([500_000_000, 0]);
	expect(readAttributes(bytes, 40)).toEqual(expectedAttributes);
});

test("writes attributes", () => {
	const bytes = encoded(encodeAttributes, { ...attributes, attributesValidMs: 2500 });
	expect(bytes.length).toBe(104);
	expect([bytes.readBigUInt64LE(0), bytes.readUInt32LE(8), bytes.readUInt32LE(12)]).toEqual([2n, 500_000_000, 0]);
	expect(readAttributes(bytes, 16)).toEqual(expectedAttributes);
});

test.each([
	["for ever", Infinity, [0x7fff_ffffn, 0]],
	["not at all", 0, [0n, 0]],
	["less than not at all", -5, [0n, 0]],
	["a moment", 0.001, [0n, 1000]],
])("lets attributes be believed %s", (_, attributesValidMs, [seconds, nanoseconds]) => {
	const bytes = encoded(encodeAttributes, { ...attributes, attributesValidMs });
	expect([bytes.readBigUInt64LE(0), bytes.readUInt32LE(8)]).toEqual([seconds, nanoseconds]);
});

test("writes times of today's clocks, and of milliseconds before 1970", () => {
	const milliseconds = fc.integer({ min: -3_000_000_000_000, max: 8_000_000_000_000 });
	fc.assert(
		fc.property(milliseconds, (time) => {
			const bytes = encoded(encodeAttributes, { ...attributes, mtime: timeOf(time), attributesValidMs: 0 });
			const nanoseconds = bytes.readUInt32LE(16 + 52);
			expect(nanoseconds).toBeLessThan(1_000_000_000);
			expect(bytes.readBigInt64LE(16 + 32) * 1_000_000_000n + BigInt(nanoseconds)).toBe(BigInt(time) * 1_000_000n);
		}),
	);
});

test("writes what was opened and created", () => {
	const opened = encoded(encodeOpened, { handle: 2 ** 34, keepCache: true, nonSeekable: true });
	expect(opened.length).toBe(16);
	expect([opened.readBigUInt64LE(0), opened.readUInt32LE(8)]).toEqual([2n ** 34n, 6]);
	expect(encoded(encodeOpened, { handle: 1, directIo: true }).readUInt32LE(8)).toBe(1);
	const created = encoded(encodeCreated, { ...entry, handle: 3 });
	expect(created.length).toBe(144);
	expect([created.readBigUInt64LE(0), created.readBigUInt64LE(128)]).toEqual([2n ** 33n + 7n, 3n]);
});

test("writes numbers of bytes, and statistics", () => {
	expect(encoded(encodeCount, 0x1_0000).readBigUInt64LE(0)).toBe(0x1_0000n);
	const bytes = encoded(encodeStatistics, {
		blockSizeBytes: 4096,
		blocks: 2 ** 40,
		freeBlocks: 2 ** 39,
		files: 10,
		freeFiles: 9,
		maximumNameLength: 255,
	});
	expect(bytes.length).toBe(80);
	expect([0, 8, 16, 24, 32].map((at) => bytes.readBigUInt64LE(at))).toEqual([2n ** 40n, 2n ** 39n, 2n ** 39n, 10n, 9n]);
	expect([40, 44, 48].map((at) => bytes.readUInt32LE(at))).toEqual([4096, 255, 4096]);
});

interface Dirent {
	readonly name: string;
	readonly ino: number;
	readonly type: number;
	readonly next: number;
	readonly node?: bigint;
}

/** As the kernel reads a page. */
function readPage(page: Page): Dirent[] {
	const bytes = page.bytes.subarray(16, page.usedBytes);
	const found: Dirent[] = [];
	for (let at = 0; at < bytes.length;) {
		const start = at + (page.plus ? 128 : 0);
		const length = bytes.readUInt32LE(start + 16);
		found.push({
			name: bytes.toString("utf8", start + 24, start + 24 + length),
			ino: Number(bytes.readBigUInt64LE(start)),
			next: Number(bytes.readBigUInt64LE(start + 8)),
			type: bytes.readUInt32LE(start + 20),
			...(page.plus && { node: bytes.readBigUInt64LE(at) }),
		});
		at = (start + 24 + length + 7) & ~7;
	}
	return found;
}

const longNames = fc.array(fc.string({ unit: "grapheme", minLength: 1, maxLength: 60 }), { maxLength: 120 });

test("fills a page with as many names as fit, and not one more", () => {
	const page = new Page(4096);
	fc.assert(
		fc.property(longNames, fc.boolean(), fc.integer({ min: 512, max: 4096 }), (names, plus, sizeBytes) => {
			expect(page.begin(sizeBytes, plus)).toBe(true);
			const taken = names.findIndex(
				(name, index) => !page.add(name, { ino: index + 5, mode: 0o040_755 }, index + 1, entry),
			);
			const count = taken === -1 ? names.length : taken;
			const isNamed = (name: string): boolean => name !== "." && name !== "..";
			expect(readPage(page)).toEqual(
				names.slice(0, count).map((name, index) => ({
					name,
					ino: index + 5,
					next: index + 1,
					type: 4,
					...(plus && { node: isNamed(name) ? 2n ** 33n + 7n : 0n }),
				})),
			);
			expect(page.usedBytes).toBeLessThanOrEqual(16 + sizeBytes);
			const next = names[count];
			const needed = next === undefined ? Infinity : (plus ? 128 : 0) + ((24 + Buffer.byteLength(next) + 7) & ~7);
			expect(page.usedBytes + needed).toBeGreaterThan(16 + sizeBytes);
		}),
	);
});

test("leaves an entry out of a page when there is none, for the kernel to ask", () => {
	const page = new Page(4096);
	page.begin(4096, true);
	page.add("full", { ino: 5, mode: 0o100_644 }, 1, entry);
	page.begin(4096, true);
	page.add("name", { ino: 5, mode: 0o100_644 }, 1);
	expect(page.bytes.subarray(16, 16 + 128).every((byte) => byte === 0)).toBe(true);
	expect(readPage(page)).toEqual([{ name: "name", ino: 5, next: 1, type: 8, node: 0n }]);
});

test("does not begin a page that is too small", () => {
	expect(new Page(4096).begin(4097, false)).toBe(false);
});
