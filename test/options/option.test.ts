import { describe, expect, it } from "vitest";
import type { z } from "zod";
import {
	choice,
	duration,
	endpointUrl,
	flag,
	integer,
	isPath,
	isSecret,
	mode,
	optionMeta,
	path,
	secret,
	size,
	text,
} from "../../src/options/option.ts";
import { Secret } from "../../src/secrets/secret.ts";
import { drivers } from "../../src/drivers/index.ts";

const meta = { description: "For tests." };
/** The value, or every message. */
const read = (schema: z.ZodType, value: unknown): unknown => {
	const parsed = schema.safeParse(value);
	return parsed.success ? parsed.data : parsed.error.issues.map(({ message }) => message);
};

const types = {
	text: text(meta),
	flag: flag(meta),
	integer: integer(meta),
	mode: mode(meta),
	duration: duration(meta),
	size: size(meta),
	choice: choice(["a", "b"], meta),
	path: path(meta),
	endpointUrl: endpointUrl(meta),
};

describe.each(Object.entries(types))("the option type %s", (_name, schema) => {
	it("lets no control character through", () => {
		for (const control of ["\n", "\r", "\t", "\0", "\u001B", "\u007F"]) {
			for (const valid of ["a", "true", "1", "0755", "1s", "/a", "http://a"]) {
				for (const value of [`${valid}${control}`, `${control}${valid}`, `${valid}${control}${valid}`]) {
					expect(schema.safeParse(value).success, JSON.stringify(value)).toBe(false);
				}
			}
		}
	});

	it("takes only strings, and nothing of any size", () => {
		for (const value of [null, 1, true, {}, [], "x".repeat(4097)]) expect(schema.safeParse(value).success).toBe(false);
	});

	it("may be absent", () => {
		expect(read(schema, undefined)).toBeUndefined();
	});
});

describe("flag", () => {
	it("reads yes and no in the usual spellings; empty, as Fluid writes a flag, means yes", () => {
		for (const value of ["", "true", "True", "1", "yes", "on"]) expect(read(types.flag, value), value).toBe(true);
		for (const value of ["false", "FALSE", "0", "no", "off"]) expect(read(types.flag, value), value).toBe(false);
		for (const value of ["2", "y", " true", "truee"]) {
			expect(read(types.flag, value), value).toEqual(["expected true or false (empty means true)"]);
		}
	});
});

describe("integer", () => {
	it("reads whole numbers within bounds", () => {
		const schema = integer(meta, { min: 5, max: 10 });
		expect(["5", "10", "007"].map((value) => read(schema, value))).toEqual([5, 10, 7]);
		for (const value of ["4", "11", "", "5.0", "0x5", "5 ", "1e1", "-5", "五", "9".repeat(17)]) {
			expect(read(schema, value), value).toEqual(["expected a whole number from 5 to 10"]);
		}
		expect(read(integer(meta, { min: -1 }), "-1")).toBe(-1);
		expect(read(integer(meta), "-1")).toEqual(["expected a whole number from 0"]);
	});
});

describe("mode", () => {
	it("reads octal, with or without a leading zero", () => {
		expect(["755", "0755", "0o755", "1777"].map((value) => read(types.mode, value))).toEqual([
			0o755, 0o755, 0o755, 0o1777,
		]);
		for (const value of ["855", "7", "rwxr-xr-x", "-755", "07777777", ""])
			expect(read(types.mode, value), value).toHaveLength(1);
	});
});

describe("duration", () => {
	it("reads Go's form into milliseconds", () => {
		expect(["0", "500ms", "30s", "1.5m", "2h"].map((value) => read(types.duration, value))).toEqual([
			0, 500, 30_000, 90_000, 7_200_000,
		]);
		for (const value of ["", "30", "30 s", "-1s", "1d", "1m30s", "s", ".5s"])
			expect(read(types.duration, value), value).toHaveLength(1);
	});

	it("refuses what Go cannot count", () => {
		expect(read(types.duration, "876000h")).toBe(876_000 * 3_600_000);
		for (const value of ["1000000h", `${"9".repeat(400)}s`])
			expect(read(types.duration, value)).toEqual(["longer than 100 years"]);
	});
});

describe("size", () => {
	it("reads quantities as Kubernetes writes them, and plain bytes", () => {
		expect(
			["1", "1000000", "64Ki", "64Mi", "1.5Gi", "2Ti", "5k", "5K", "5M", "0.5G", "1T", "1e6"].map((value) =>
				read(types.size, value),
			),
		).toEqual([1, 1e6, 65_536, 67_108_864, 1_610_612_736, 2_199_023_255_552, 5000, 5000, 5e6, 5e8, 1e12, 1e6]);
		for (const value of ["", "Mi", "64 Mi", "64MiB", "64mi", "64m", "-1", ".5G", "0x10", "9".repeat(16)]) {
			expect(read(types.size, value), value).toEqual(["expected a size such as 512Mi, 1Gi or 500M"]);
		}
	});

	it("refuses what is too small to work with, and what JavaScript cannot count", () => {
		const atLeast = size(meta, { min: 16 * 1024 ** 2 });
		expect(read(atLeast, "16Mi")).toBe(16 * 1024 ** 2);
		expect(read(atLeast, "16M")).toEqual(["expected at least 16Mi"]);
		expect(read(types.size, "0")).toEqual(["expected at least 1"]);
		expect(read(types.size, "999999999999999Ti")).toEqual(["expected a size of 8Pi at most"]);
	});
});

describe("path", () => {
	it("takes absolute paths that cannot end a list's item", () => {
		expect(read(types.path, "/etc/a b/$(c)")).toBe("/etc/a b/$(c)");
		for (const value of ["a", "", "-o", "/a,rw", "/a:b", String.raw`/a\b`])
			expect(read(types.path, value), value).toHaveLength(1);
	});

	it("takes none into a /proc, from where links lead to every file of the node", () => {
		for (const value of ["/proc/1/environ", "/host/proc/1/root/etc/shadow", "/host/../host/./proc"])
			expect(read(types.path, value), value).toEqual(["expected a path that is not in a /proc"]);
		expect(read(types.path, "/processed/proc.d")).toBe("/processed/proc.d");
	});
});

describe("choice", () => {
	it("takes one of its values", () => {
		expect(read(types.choice, "b")).toBe("b");
		expect(read(types.choice, "c")).toEqual(["expected one of a, b"]);
	});
});

describe("endpointUrl", () => {
	const href = (value: string): unknown => {
		const found = read(types.endpointUrl, value);
		return found instanceof URL ? found.href : found;
	};

	it("reads addresses, and puts https:// in front of a bare host", () => {
		expect(href("http://minio:9000")).toBe("http://minio:9000/");
		expect(href("https://s3.example.com/base")).toBe("https://s3.example.com/base");
		expect(href("oss-cn-beijing.aliyuncs.com")).toBe("https://oss-cn-beijing.aliyuncs.com/");
		expect(href("minio:9000")).toBe("https://minio:9000/");
		expect(href("HTTP://MinIO:9000")).toBe("http://minio:9000/");
		expect(href("[::1]:9000")).toBe("https://[::1]:9000/");
	});

	it("refuses other protocols and what is no address", () => {
		for (const value of [
			"",
			"ftp://a",
			"file:///etc/passwd",
			"javascript://a",
			"http://",
			"https://a b",
			"minio:port",
			" http://a",
		]) {
			expect(href(value), value).toEqual(["expected an address such as https://s3.example.com or http://minio:9000"]);
		}
	});

	it("refuses quotes, and says so", () => {
		for (const value of ['"http://minio:9000"', "'minio'", '"minio.example.com"', 'http://"minio"', 'http://minio/"'])
			expect(href(value), value).toEqual([
				"expected an address such as https://s3.example.com or http://minio:9000, without quotes",
			]);
	});

	it("refuses port 0, and names that no host has", () => {
		expect(href("http://minio:0")).toEqual(["the port must not be 0: nobody listens there"]);
		for (const value of ["http://$(minio)", "https://{host}", "http://a*b", "http://a,b", "http://%22a"])
			expect(href(value), value).toEqual(["expected an address such as https://s3.example.com or http://minio:9000"]);
		expect(href("http://minio_1.default.svc:9000")).toBe("http://minio_1.default.svc:9000/");
		expect(href("http://größe.example")).toBe("http://xn--gre-6ka8i.example/");
	});

	it("refuses credentials, queries and what would end a list's item", () => {
		expect(href("https://id:pass@minio")).toEqual([
			"must not contain a user or password: use access-key and secret-key",
		]);
		for (const value of ["https://a/?x", "https://a/#x", "https://a/b,rw"]) {
			expect(href(value), value).toEqual(["must not contain ?, #, comma or backslash"]);
		}
	});
});

describe("secret", () => {
	it("takes a secret that one line can hold, and never says what it is", () => {
		const schema = secret(meta);
		const value = new Secret("hidden-value", "login/key");
		expect(read(schema, value)).toBe(value);
		for (const wrong of ["", "hidden-value\n", "hidden\0value", "hidden-value".repeat(400)]) {
			const messages = read(schema, new Secret(wrong, "login/key"));
			expect(messages).toHaveLength(1);
			expect(String(messages)).not.toContain("hidden");
		}
		expect(schema.safeParse("hidden-value").success).toBe(false);
	});
});

describe.each(drivers.map((driver) => [driver.name, driver] as const))(
	"the options of %s",
	(name, { options, refusedOptions }) => {
		const all = Object.entries(options.shape);
		const names = all.flatMap(([option, schema]) => [option, ...(optionMeta(schema).aliases ?? [])]);

		it("are all described, optional, and under names that nothing else has", () => {
			for (const [option, schema] of all) {
				expect(optionMeta(schema).description, option).toMatch(/^[A-Z0-9].*\.$/);
				expect(optionMeta(schema).type, option).not.toBe("");
				expect(schema.safeParse(undefined).success, option).toBe(true);
			}
			expect(names.toSorted()).toEqual([...new Set(names)].toSorted());
			expect(
				names.filter((option) => ["driver", "ro", "rw"].includes(option) || option.startsWith("fluid.fuse.")),
			).toEqual([]);
		});

		it("are not refused as well", () => {
			expect(names.filter((option) => Object.hasOwn(refusedOptions, option))).toEqual([]);
		});

		it("let nothing through that would end an item of a list, unless they are a list", () => {
			const letThrough = all.filter(([, schema]) => {
				const value = isPath(schema, "/a") ? "/a,suid" : "a,suid";
				return !isSecret(schema) && schema.safeParse(value).success;
			});
			expect(letThrough.map(([option]) => option)).toEqual(name === "goofys" ? ["o"] : []);
		});
	},
);
