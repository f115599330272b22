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
			mtime: { seconds: 1_700_000_000, nanoseconds: 123_456_789 },
			atime: { seconds: 1_700_000_001, nanoseconds: 0 },
			xattrs: new Map([["user.color", Buffer.from("red")]]),
		});
	});

	test("is written as it is read", () => {
		const posix = {
			mode: 0o100_755,
			uid: 5,
			mtime: { seconds: 1_700_000_000, nanoseconds: 123_456_789 },
			atime: { seconds: 1, nanoseconds: 0 },
			xattrs: new Map([["user.näme", Buffer.from([0, 1, 255])]]),
			others: { "written-by": "somebody" },
		};
		expect(parseMetadata(formatMetadata(posix))).toEqual(posix);
	});

	test.each([
		[{ seconds: 1_700_000_000, nanoseconds: 0 }, "1700000000"],
		// s3fs takes the digits behind the dot for a whole number.
		[{ seconds: 1_700_000_000, nanoseconds: 250_000_000 }, "1700000000.250000000"],
		[{ seconds: 1_700_000_000, nanoseconds: 1 }, "1700000000.000000001"],
		[{ seconds: 0, nanoseconds: 0 }, "0"],
		// rclone writes these so.
		[{ seconds: -1, nanoseconds: 999_999_999 }, "-0.000000001"],
		[{ seconds: -2, nanoseconds: 500_000_000 }, "-1.500000000"],
		[{ seconds: -2, nanoseconds: 0 }, "-2"],
	])("keeps the time %j as %s", (mtime, text) => {
		expect(formatMetadata({ mtime })).toEqual({ mtime: text });
		expect(parseMetadata({ mtime: text })).toEqual({ mtime });
	});

	test("reads what is shorter or longer than a nanosecond", () => {
		expect(parseMetadata({ mtime: "1.5" })).toEqual({ mtime: { seconds: 1, nanoseconds: 500_000_000 } });
		expect(parseMetadata({ mtime: "1.9999999999" })).toEqual({ mtime: { seconds: 1, nanoseconds: 999_999_999 } });
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
