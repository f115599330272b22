import * as z from "zod";
import { Secret } from "../secrets/secret.ts";

/**
 * The types of option values. Fluid hands every value over as a string, so each type parses one. No type lets a
 * control character through, and none that becomes part of a list lets the list's separator through.
 */

export interface OptionMeta {
	/** What the option does, its default and its consequence: one or two sentences. */
	readonly description: string;
	/** Other names under which it is accepted. */
	readonly aliases?: readonly string[];
	/** How documentation names the type. */
	readonly type: string;
	/** The files that a value names, to be read by whoever gets it. */
	readonly filesIn?: (value: string) => readonly string[];
}

type Description = Omit<OptionMeta, "type">;

/** The type of the option, if there is one of that name: it may be `constructor`, which every object has. */
export function schemaOf({ shape }: z.ZodObject, name: string): z.ZodType | undefined {
	return Object.hasOwn(shape, name) ? (shape[name] as z.ZodType) : undefined;
}

// oxlint-disable-next-line no-control-regex -- control characters are what is looked for
const control = /[\u0000-\u001f\u007f]/;

const plain = z
	.string()
	.max(4096)
	.refine((value) => !control.test(value), { error: "must not contain newlines, NUL or other control characters" });

function option<Schema extends z.ZodType>(schema: Schema, type: string, meta: Description): z.ZodOptional<Schema> {
	return schema.optional().meta({ ...meta, type });
}

export function text(meta: Description, pattern?: RegExp, expected = "text") {
	const schema = pattern === undefined ? plain : plain.regex(pattern, { error: `expected ${expected}` });
	return option(schema, expected, meta);
}

/** A flag: `""`, as Fluid writes one without a value, means yes. */
export function flag(meta: Description) {
	const yes = new Set(["", "true", "1", "yes", "on"]);
	const no = new Set(["false", "0", "no", "off"]);
	const schema = plain.transform((value, context) => {
		const word = value.toLowerCase();
		if (yes.has(word)) return true;
		if (no.has(word)) return false;
		context.addIssue({ code: "custom", message: "expected true or false (empty means true)" });
		return z.NEVER;
	});
	return option(schema, "true or false", meta);
}

export function integer(meta: Description, { min = 0, max = Number.MAX_SAFE_INTEGER } = {}) {
	const expected =
		max === Number.MAX_SAFE_INTEGER ? `a whole number from ${min}` : `a whole number from ${min} to ${max}`;
	const schema = plain
		.regex(/^-?\d{1,16}$/, { error: `expected ${expected}` })
		.transform(Number)
		.refine((value) => value >= min && value <= max, { error: `expected ${expected}` });
	return option(schema, expected, meta);
}

/** Permission bits, read as octal with or without a leading zero: `755`, `0755` and `0o755` are the same. */
export function mode(meta: Description) {
	const schema = plain
		.regex(/^(0o?)?[0-7]{3,4}$/, { error: "expected permission bits in octal, such as 0755" })
		.transform((value) => Number.parseInt(value.replace("o", ""), 8));
	return option(schema, "octal permission bits", meta);
}

/** Go counts nanoseconds in 63 bits, which is enough for 292 years. */
const maximumDurationMs = 100 * 365 * 24 * 3_600_000;

/** A duration in Go's form; the value is kept in milliseconds. */
export function duration(meta: Description) {
	const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
	const schema = plain
		.regex(/^\d+(\.\d+)?(ms|s|m|h)$|^0$/, { error: "expected a duration such as 30s, 500ms or 5m" })
		.transform((value) => Math.round(Number.parseFloat(value) * (units[value.replace(/^[\d.]+/, "")] ?? 1)))
		.refine((value) => value <= maximumDurationMs, { error: "longer than 100 years" });
	return option(schema, "duration", meta);
}

const sizeUnits: Readonly<Record<string, number>> = {
	k: 1e3,
	K: 1e3,
	M: 1e6,
	G: 1e9,
	T: 1e12,
	P: 1e15,
	E: 1e18,
	Ki: 1024,
	Mi: 1024 ** 2,
	Gi: 1024 ** 3,
	Ti: 1024 ** 4,
	Pi: 1024 ** 5,
	Ei: 1024 ** 6,
};

/** An amount of bytes as Kubernetes writes quantities: `512Mi`, `1Gi`, `500M`, `2e9` or plain bytes. */
export const sizeInBytes = plain
	.regex(/^\d{1,15}(\.\d{1,3})?([kKMGTPE]|[KMGTPE]i|[eE]\d{1,2})?$/, {
		error: "expected a size such as 512Mi, 1Gi or 500M",
	})
	.transform((value) => {
		// With an exponent it is a number as it stands; a unit ends it.
		const unit = /[a-z]+$/i.exec(value)?.[0];
		return Math.floor(unit === undefined ? Number(value) : Number.parseFloat(value) * (sizeUnits[unit] ?? Number.NaN));
	});

export function size(meta: Description, { min = 1 } = {}) {
	const schema = sizeInBytes
		.refine((value) => value >= min, { error: `expected at least ${min >= 1024 ** 2 ? `${min / 1024 ** 2}Mi` : min}` })
		.refine((value) => value <= Number.MAX_SAFE_INTEGER, { error: "expected a size of 8Pi at most" });
	return option(schema, "size", meta);
}

export function choice<const Values extends readonly [string, ...string[]]>(values: Values, meta: Description) {
	return option(z.enum(values, { error: `expected one of ${values.join(", ")}` }), values.join(" | "), meta);
}

/** An absolute path in the container. */
export function path(meta: Description) {
	const schema = plain
		.regex(/^\/[^,\\:]*$/, { error: "expected an absolute path without comma, colon or backslash" })
		// Of the node's /proc, which a storage pod may have, links lead to every file of the node.
		.refine((value) => !value.split("/").includes("proc"), { error: "expected a path that is not in a /proc" });
	return option(schema, "absolute path", meta);
}

/** The absolute path of a file that is there to be read. */
export function file(meta: Description) {
	return path({ ...meta, filesIn: (value) => [value] });
}

/** The address of an S3 server. A bare `host:port`, as several vendors write it, gets `https://` in front. */
export function endpointUrl(meta: Description) {
	const schema = plain.transform((value, context) => {
		const url = URL.parse(/^[a-z][a-z0-9+.-]*:\/\//i.test(value) ? value : `https://${value}`);
		const fault = endpointFault(value, url);
		if (url !== null && fault === undefined) return url;
		context.addIssue({ code: "custom", message: fault ?? "expected a URL" });
		return z.NEVER;
	});
	return option(schema, "URL", meta);
}

/** What a URL takes besides is in no host's name: braces, a dollar sign. */
const hostName = /^(?:[\w.-]+|\[[\da-f:.]+\])$/;

function endpointFault(value: string, url: URL | null): string | undefined {
	const expected = "expected an address such as https://s3.example.com or http://minio:9000";
	if (/["'`]/.test(value)) return `${expected}, without quotes`;
	if (url === null || !hostName.test(url.hostname) || !["http:", "https:"].includes(url.protocol)) return expected;
	if (url.username !== "" || url.password !== "")
		return "must not contain a user or password: use access-key and secret-key";
	if (url.port === "0") return "the port must not be 0: nobody listens there";
	if (/[?#,\\]/.test(url.href)) return "must not contain ?, #, comma or backslash";
	return undefined;
}

/** A secret: the config holds the path of a secret file, or in Fluid's secret mode the value itself. */
export function secret(meta: Description) {
	const schema = z
		.instanceof(Secret)
		.refine((value) => value.reveal() !== "", { error: "the secret is empty" })
		.refine((value) => !control.test(value.reveal()), {
			error: "the secret's value must not contain newlines or control characters",
		})
		.refine((value) => value.reveal().length <= 4096, { error: "the secret's value is longer than 4096 characters" });
	return option(schema, "secret", meta);
}

/** A type of a driver's own: `parse` returns undefined for what is none. */
export function parsed<Value>(meta: Description, expected: string, parse: (value: string) => Value | undefined) {
	const schema = plain.transform((value, context) => {
		const result = parse(value);
		if (result !== undefined) return result;
		context.addIssue({ code: "custom", message: `expected ${expected}` });
		return z.NEVER;
	});
	return option(schema, expected, meta);
}

export function optionMeta(schema: z.ZodType): OptionMeta {
	return schema.meta() as unknown as OptionMeta;
}

/** Whether the option names a file or folder with this value. */
export function isPath(schema: z.ZodType, value: string): boolean {
	const { type, filesIn } = optionMeta(schema);
	return type === "absolute path" || filesIn?.(value).includes(value) === true;
}

export function isSecret(schema: z.ZodType): boolean {
	return optionMeta(schema).type === "secret";
}
