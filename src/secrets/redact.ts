import type { Secret } from "./secret.ts";

/** Shorter values would shred every text they happen to occur in. */
const minimumLength = 4;

const mask = "[redacted]";

export interface Redactor {
	/** From now on the secret's value is masked, in every form below. */
	readonly add: (secret: Secret) => void;
	/** One that was added is not needed any more; its value stays masked when it was added by somebody else, too. */
	readonly remove: (secret: Secret) => void;
	readonly redact: (text: string) => string;
}

/** Masks secrets by value: as they are, escaped for JSON or a URL, in base64 at any offset, and in hex. */
export function createRedactor(): Redactor {
	/** How often each value was added. */
	const holders = new Map<string, number>();
	/** Undefined: they are not those of the values any more. */
	let patterns: readonly (string | RegExp)[] | undefined = [];
	const compile = (): readonly (string | RegExp)[] =>
		patternsOf(new Set([...holders.keys()].flatMap((value) => [...formsOf(value)])));
	return {
		add(secret) {
			const value = secret.reveal();
			const count = holders.get(value) ?? 0;
			holders.set(value, count + 1);
			if (count === 0) patterns = undefined;
		},
		remove(secret) {
			const value = secret.reveal();
			const count = holders.get(value) ?? 0;
			if (count > 1) holders.set(value, count - 1);
			else if (holders.delete(value)) patterns = undefined;
		},
		redact(text) {
			patterns ??= compile();
			return patterns.reduce<string>((masked, pattern) => masked.replaceAll(pattern, mask), text);
		},
	};
}

/** What a regular expression can hold has an end; what is longer is looked for as it is. */
const longestInPattern = 4096;
const longestPattern = 64 * 1024;

/** What to mask, in this order: the longest first, so that a form that contains another is masked whole. */
function patternsOf(forms: ReadonlySet<string>): (string | RegExp)[] {
	const longestFirst = [...forms].toSorted((a, b) => b.length - a.length);
	const patterns: (string | RegExp)[] = longestFirst.filter(({ length }) => length > longestInPattern);
	let together: string[] = [];
	let length = 0;
	const compile = (): void => {
		if (together.length > 0) patterns.push(new RegExp(together.join("|"), "g"));
		together = [];
		length = 0;
	};
	for (const form of longestFirst) {
		if (form.length > longestInPattern) continue;
		if (length > longestPattern) compile();
		together.push(RegExp.escape(form));
		length += form.length;
	}
	compile();
	return patterns;
}

function* formsOf(value: string): Generator<string> {
	if (value.length < minimumLength) return;
	const json = JSON.stringify(value).slice(1, -1);
	const url = encodeURIComponent(value);
	const form = new URLSearchParams([["", value]]).toString().slice(1);
	// A log line is JSON itself, so that what a program printed as JSON is escaped once more.
	yield* [value, json, JSON.stringify(json).slice(1, -1), url, url.toLowerCase(), form];
	const bytes = Buffer.from(value);
	yield bytes.toString("hex");
	yield bytes.toString("hex").toUpperCase();
	for (const text of base64Cores(bytes)) {
		yield text;
		yield text.replaceAll("+", "-").replaceAll("/", "_");
		yield encodeURIComponent(text);
	}
}

/** What is the same in the base64 of any text that holds the bytes, for each of the three ways they can be aligned. */
function* base64Cores(bytes: Buffer): Generator<string> {
	for (let offset = 0; offset < 3; offset++) {
		const padded = Buffer.concat([Buffer.alloc(offset), bytes]).toString("base64");
		const start = Math.ceil((offset * 8) / 6);
		const end = Math.floor(((offset + bytes.length) * 8) / 6);
		const core = padded.slice(start, end);
		if (core.length >= 2 * minimumLength) yield core;
	}
}
