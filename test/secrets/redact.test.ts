import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Secret } from "../../src/secrets/secret.ts";
import { createLogger } from "../../src/log.ts";
import { maskRotatingKeys } from "../../src/secrets/mask-keys.ts";
import { createRedactor } from "../../src/secrets/redact.ts";

const value = 'wJalr/XUtn+FEMI"K7\\MDENG&bPx=';

function redactor(secret = value) {
	const created = createRedactor();
	created.add(new Secret(secret, "name/key"));
	return created;
}

describe("masks a secret", () => {
	const forms: [string, string][] = [
		["as it is", value],
		["escaped for JSON", JSON.stringify(value)],
		["escaped for JSON twice", JSON.stringify(JSON.stringify(value))],
		["in a URL", encodeURIComponent(value)],
		["in a form", new URLSearchParams({ value }).toString()],
		["in base64", Buffer.from(value).toString("base64")],
		["in base64url", Buffer.from(value).toString("base64url")],
		["in basic authentication", Buffer.from(`user:${value}`).toString("base64")],
		["in base64 with a prefix of another length", Buffer.from(`ab${value}cd`).toString("base64")],
		["in hex", Buffer.from(value).toString("hex")],
	];
	test.each(forms)("%s", (_, form) => {
		const text = redactor().redact(`before ${form} after`);
		expect(text).toContain("[redacted]");
		expect(text).toContain("before ");
		expect(text).toContain(" after");
		for (const piece of [value.slice(0, 12), form.slice(6, 18)]) expect(text).not.toContain(piece);
	});
});

test("masks whatever the secret and its surroundings are", () => {
	const secret = fc.string({ minLength: 8, maxLength: 60, unit: "binary" }).filter((text) => text.isWellFormed());
	fc.assert(
		fc.property(secret, fc.string(), fc.string(), (text, before, after) => {
			const { redact } = redactor(text);
			fc.pre(!before.includes(text) && !after.includes(text));
			return (
				!redact(`${before}${text}${after}`).includes(text) &&
				!redact(JSON.stringify({ text })).includes(JSON.stringify(text).slice(1, -1))
			);
		}),
		{ numRuns: 2000 },
	);
});

test("masks a secret of a megabyte, and each of thousands", () => {
	const long = "ab+/".repeat(2 ** 18);
	expect(redactor(long).redact(`before ${encodeURIComponent(long)} after`)).toBe("before [redacted] after");
	const { add, redact } = createRedactor();
	for (let index = 0; index < 5000; index++) add(new Secret(`secret-${index}-`, "name/key"));
	expect(redact("before secret-0- between secret-4999- after")).toBe("before [redacted] between [redacted] after");
});

test("leaves other text and very short secrets alone", () => {
	expect(redactor().redact("nothing here")).toBe("nothing here");
	expect(redactor("abc").redact("abcdef")).toBe("abcdef");
});

test("a secret does not show itself when printed", () => {
	const secret = new Secret(value, "name/key");
	expect(String(secret)).toBe("secret name/key");
	expect(JSON.stringify({ secret })).toBe('{"secret":"secret name/key"}');
	expect(Object.values(secret)).toEqual(["name/key"]);
});

test("a log line that is full of secrets is still one line of JSON", () => {
	const lines: string[] = [];
	const log = createLogger("info", redactor(), { write: (line: string) => lines.push(line) });
	log.info(
		{ key: value, nested: { list: [value, `x${value}y`] }, err: new Error(`failed with ${value}`) },
		`message ${value}`,
	);
	expect(lines).toHaveLength(1);
	const parsed = JSON.parse(lines[0] ?? "") as { level: string; time: string };
	expect(JSON.stringify(parsed)).not.toContain(value.slice(0, 12));
	expect(parsed.level).toBe("info");
	expect(parsed.time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
});

test("a value is masked until everybody who added it has removed it", () => {
	const { add, remove, redact } = createRedactor();
	const [first, second, other] = [
		new Secret("a-value", "x"),
		new Secret("a-value", "y"),
		new Secret("another-one", "z"),
	];
	for (const secret of [first, second, other]) add(secret);
	remove(first);
	expect(redact("a-value another-one")).toBe("[redacted] [redacted]");
	remove(second);
	expect(redact("a-value another-one")).toBe("a-value [redacted]");
	remove(other);
	remove(other);
	expect(redact("a-value another-one")).toBe("a-value another-one");
});

test("of keys that are exchanged again and again, the last two are masked", () => {
	const redactor = createRedactor();
	const mask = maskRotatingKeys(redactor);
	const keys = (number: number) => ({
		accessKeyId: `ASIA-${number}`,
		secretAccessKey: `secret-${number}`,
		sessionToken: `token-${number}`,
	});
	for (let number = 1; number <= 4; number++) mask(keys(number));
	expect(redactor.redact("ASIA-2 secret-2 token-2")).toBe("ASIA-2 secret-2 token-2");
	expect(redactor.redact("ASIA-3 secret-3 token-3 ASIA-4 secret-4 token-4")).not.toMatch(/ASIA|secret|token/);
});
