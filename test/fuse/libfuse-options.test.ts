import { describe, expect, test } from "vitest";
import { fuseOptions, missing } from "../../src/fuse/libfuse.ts";

describe("the options for libfuse", () => {
	const wanted = { source: "s3://a/b", subtype: "thin-s3", readOnly: false, allowOther: true, validMs: 1000 };

	test("are one argument, with what the mount is", () => {
		expect(fuseOptions(wanted)).toBe(
			"-odefault_permissions,nosuid,nodev,use_ino,big_writes,attr_timeout=1,entry_timeout=1,subtype=thin-s3,allow_other,fsname=s3://a/b",
		);
		const other = fuseOptions({ ...wanted, readOnly: true, allowOther: false, validMs: 250 }).split(",");
		expect(other).toContain("ro");
		expect(other).toContain("attr_timeout=0.25");
		expect(other).not.toContain("allow_other");
	});

	test("take a source with what libfuse splits at", () => {
		expect(fuseOptions({ ...wanted, source: "a,ro\\b" })).toMatch(/,fsname=a\\,ro\\\\b$/);
	});

	test("cut the source, and nothing else, where there is no room for all of it", () => {
		for (const source of ["x".repeat(4000), ",".repeat(4000), "\u00e9".repeat(4000), "🙂".repeat(4000)]) {
			const text = fuseOptions({ ...wanted, readOnly: true, source });
			expect(Buffer.byteLength(text)).toBeLessThanOrEqual(1023);
			expect(Buffer.byteLength(text)).toBeGreaterThan(1015);
			expect(text).toContain(",ro,fsname=");
			// No half of an escape at the end, and no half of a character.
			expect(text.replaceAll(/\\./g, "")).not.toContain("\\");
			expect(text.isWellFormed()).toBe(true);
		}
	});
});

describe("why fuse-native does not load", () => {
	const why = (message: string, code?: string): string => {
		const { message: what, hint } = missing(Object.assign(new Error(message), { code }));
		return `${what}. ${hint}`;
	};

	test("is said with what to do", () => {
		expect(why("Cannot find package 'fuse-native' imported from /x.js", "ERR_MODULE_NOT_FOUND")).toBe(
			'transport=libfuse needs the npm package fuse-native, which is not in this image. Install fuse-native 2.2.6, or leave the option "transport" out.',
		);
		expect(why("libfuse.so.2: cannot open shared object file: No such file or directory", "ERR_DLOPEN_FAILED")).toBe(
			'transport=libfuse needs the library libfuse.so.2, which is not in this image. Install Debian\'s libfuse2, or leave the option "transport" out.',
		);
	});

	test("is said as the loader says it where the machine is another one", () => {
		// As node-gyp-build and musl put it.
		for (const message of [
			"No native build was found for platform=linux arch=arm64 runtime=node abi=137 uv=1 armv=8 libc=glibc node=24.21.0\n    loaded from: /x\n",
			"Error loading shared library ld-linux-x86-64.so.2: No such file or directory (needed by /x/node.napi.node)",
		])
			expect(why(message)).toBe(
				`transport=libfuse needs the npm package fuse-native, which does not load here (${process.platform} ${process.arch}): ${message.split("\n")[0]}. Use an image for x64 with glibc, all that fuse-native is built for, or leave the option "transport" out.`,
			);
	});
});
