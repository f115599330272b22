import { describe, expect, it } from "vitest";
import { below, ConfigError, didYouMean, nearest, shown, withoutPassword } from "../../src/options/faults.ts";

describe("below", () => {
	it("writes JSON paths, and quotes odd keys so that they stay on one line", () => {
		expect(below("", "mounts")).toBe("mounts");
		expect(below("mounts", 2)).toBe("mounts[2]");
		expect(below("mounts[2].options", "minio-url")).toBe("mounts[2].options.minio-url");
		expect(below("mounts[2].options", "a.b")).toBe('mounts[2].options["a.b"]');
		expect(below("options", "a\nb\u001B[31m")).toBe(String.raw`options["a\nb\u001b[31m"]`);
		expect(below("options", "")).toBe('options[""]');
	});
});

describe("nearest", () => {
	it("finds a name with a letter too many, too few, wrong or swapped", () => {
		const names = ["region", "endpoint", "access-key"];
		expect(["regions", "regon", "rexion", "regoin", "REGION"].map((name) => nearest(name, names))).toEqual(
			Array.from({ length: 5 }, () => "region"),
		);
		expect(didYouMean("acces-key", names)).toBe(' (did you mean "access-key"?)');
	});

	it("suggests nothing that is far away", () => {
		expect(nearest("zone", ["region", "endpoint"])).toBeUndefined();
		expect(nearest("", ["region"])).toBeUndefined();
		expect(nearest("x".repeat(100_000), ["region"])).toBeUndefined();
		expect(didYouMean("zone", [])).toBe("");
	});
});

describe("shown", () => {
	it("keeps a value short, on one line and harmless to a terminal", () => {
		expect(shown("a\nb")).toBe(String.raw`"a\nb"`);
		expect(shown("\u001B[31m\u202E\u2028")).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}]/u);
		expect(shown("x".repeat(10_000)).length).toBeLessThanOrEqual(60);
		expect(shown("😀".repeat(100)).isWellFormed()).toBe(true);
	});
});

describe("withoutPassword", () => {
	it("takes out what stands before the host, also a password with slashes", () => {
		expect(withoutPassword("https://id:pass@minio:9000/a")).toBe("https://…@minio:9000/a");
		expect(withoutPassword("s3://AKIA:wJalr/XUtn@bucket/prefix")).toBe("s3://…@bucket/prefix");
		expect(withoutPassword("id:pass@host")).toBe("…@host");
		expect(withoutPassword("s3://bucket/photos@2x/")).toBe("s3://bucket/photos@2x/");
		expect(withoutPassword("https://minio:9000")).toBe("https://minio:9000");
		expect(withoutPassword("s3://id:pass@host/photos@2x/")).toBe("s3://…@host/photos@2x/");
		expect(withoutPassword("s3://id@host:pa/ss@2x/")).toBe("s3://…@2x/");
	});
});

describe("ConfigError", () => {
	it("lists all faults, each on a line of its own", () => {
		const one = new ConfigError([{ path: "mounts[0].name", message: "wrong" }], "config.json");
		expect(one.message).toBe("config.json: mounts[0].name: wrong");
		const two = new ConfigError(
			[
				{ path: "a", message: "wrong" },
				{ path: "", message: "not JSON" },
			],
			"config.json",
		);
		expect(two.message).toBe("config.json: 2 faults\n  a: wrong\n  not JSON");
		expect(two).toMatchObject({ code: "CONFIG_INVALID", exitCode: 78, where: "config.json" });
	});
});
