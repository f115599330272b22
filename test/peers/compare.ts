/** How one test of a suite went. */
export interface Outcome {
	readonly kind: "passed" | "failed" | "skipped";
	/** What the suite said about it. */
	readonly said?: string;
}

/** By the test's name. */
export type Outcomes = ReadonlyMap<string, Outcome>;

/** The reason, by the name of a test that is known to fail. */
export type Expected = ReadonlyMap<string, string>;

export interface Comparison {
	/** Failed, and should not have. */
	readonly news: readonly string[];
	/** Passed, and is in the list of those that fail. */
	readonly better: readonly string[];
	/** In the list, and not in the suite. */
	readonly gone: readonly string[];
}

export function compare(outcomes: Outcomes, expected: Expected): Comparison {
	const news: string[] = [];
	const better: string[] = [];
	for (const [name, { kind }] of outcomes) {
		if (kind === "failed" && !expected.has(name)) news.push(name);
		if (kind === "passed" && expected.has(name)) better.push(name);
	}
	return { news, better, gone: [...expected.keys()].filter((name) => !outcomes.has(name)) };
}

/**
 * Reads a list of tests that are known to fail: a reason in brackets, then its tests, each on a line of its own. Numbers after a name
 * stand for so many tests: `a 1-3,5` for `a 1`, `a 2`, `a 3` and `a 5`.
 */
export function parseExpected(text: string): Expected {
	const expected = new Map<string, string>();
	let reason: string | undefined;
	for (const [index, line] of text.split("\n").entries()) {
		if (line === "" || line.startsWith("#")) continue;
		const heading = /^\[(.+)\]$/.exec(line)?.[1];
		if (heading !== undefined) {
			reason = heading;
			continue;
		}
		if (reason === undefined) throw new Error(`line ${index + 1} has no reason in brackets above it`);
		for (const name of namesOf(line)) {
			if (expected.has(name)) throw new Error(`line ${index + 1} has ${name}, which is in the list already`);
			expected.set(name, reason);
		}
	}
	return expected;
}

function namesOf(line: string): string[] {
	const [, name, ranges] = /^(\S+) ([\d,-]+)$/.exec(line) ?? [];
	if (name === undefined || ranges === undefined) return [line];
	return ranges.split(",").flatMap((range) => {
		const [first = "", last = first] = range.split("-");
		return Array.from({ length: Number(last) - Number(first) + 1 }, (_, offset) => `${name} ${Number(first) + offset}`);
	});
}

/** The names as lines for such a list. */
export function formatNames(names: Iterable<string>): string[] {
	const numbers = new Map<string, number[]>();
	const lines: string[] = [];
	for (const name of names) {
		const [, file, number] = /^(\S+) (\d+)$/.exec(name) ?? [];
		if (file === undefined) lines.push(name);
		else numbers.set(file, [...(numbers.get(file) ?? []), Number(number)]);
	}
	for (const [file, all] of numbers) {
		let line = "";
		for (const range of rangesOf(all)) {
			if (`${line},${range}`.length > 130) {
				lines.push(line);
				line = "";
			}
			line = line === "" ? `${file} ${range}` : `${line},${range}`;
		}
		lines.push(line);
	}
	return lines;
}

function rangesOf(numbers: readonly number[]): string[] {
	const ranges: { first: number; last: number }[] = [];
	for (const number of numbers.toSorted((one, other) => one - other)) {
		const range = ranges.at(-1);
		if (range?.last === number - 1) range.last = number;
		else ranges.push({ first: number, last: number });
	}
	return ranges.map(({ first, last }) => (first === last ? String(first) : `${first}-${last}`));
}
