import { describe, expect, test } from "vitest";
import { formatMetadata, parseMetadata } from "../../../src/s3-filesystem/names/posix-metadata.ts";

describe("POSIX metadata in object metadata", () => {
	test("is read as s3fs writes it", () => {
		const metadata = {
			mode: "33188",
			uid: "1000",
			gid: "100",
			mtime: "1700000000.123456789",
			atime: "1700000001",
			ctime: "1700000002",
			xattr: encodeURIComponent('{"user.color":"cmVk"}'),
		};
		expect(parseMetadata(metadata)).toEqual({
			mode: 0o100_644,
			uid: 1000,
			gid: 100,
			mtimeMs: 1_700_000_000_123.456_8,
			atimeMs: 1_700_000_001_000,
			xattrs: new Map([["user.color", Buffer.from("red")]]),
			others: { ctime: "1700000002" },
		});
	});

	test("is written as it is read", () => {
		const posix = {
			mode: 0o100_755,
			uid: 5,
			mtimeMs: 1_700_000_000_123.457,
			atimeMs: 1000,
			xattrs: new Map([["user.näme", Buffer.from([0, 1, 255])]]),
			others: { "written-by": "somebody" },
		};
		expect(parseMetadata(formatMetadata(posix))).toEqual(posix);
	});

	test("keeps times to the microsecond", () => {
		expect(formatMetadata({ mtimeMs: 1_700_000_000_000 })).toEqual({ mtime: "1700000000" });
		expect(formatMetadata({ mtimeMs: 1_700_000_000_000.25 })).toEqual({ mtime: "1700000000.00025" });
	});

	test.each(["-1", "1e9", "12345678901", "0x1f", ""])("takes the mode %j for somebody else's", (mode) => {
		expect(parseMetadata({ mode }).mode).toBeUndefined();
	});

	test.each(["%", "null", "[1]", "%7B"])("takes the xattr %j for somebody else's", (xattr) => {
		expect(parseMetadata({ xattr }).xattrs?.size ?? 0).toBe(0);
	});

	test("is refused when it is more than S3 keeps", () => {
		expect(() => formatMetadata({ xattrs: new Map([["user.big", Buffer.alloc(2000)]]) })).toThrow("2 KB");
	});
});
