import { LauncherError } from "../errors.ts";

/** One thing that is wrong with the config. */
export interface Fault {
	/** Where: a JSON path such as `mounts[2].options.regoin`, or the name of an environment variable. */
	readonly path: string;
	/** What was found, what was expected, and the nearest valid name: one sentence, never a secret's value. */
	readonly message: string;
}

/** CONFIG_INVALID with all faults at once, one a line. */
export class ConfigError extends LauncherError {
	readonly faults: readonly Fault[];
	/** The file or the mount that they are in. */
	readonly where: string;

	constructor(faults: readonly Fault[], where: string) {
		const lines = faults.map(({ path, message }) => (path === "" ? message : `${path}: ${message}`));
		super(
			"CONFIG_INVALID",
			`${where}: ${lines.length === 1 ? lines[0] : `${lines.length} faults\n  ${lines.join("\n  ")}`}`,
			{
				hint: "Mend the Dataset, the ThinRuntime or the ThinRuntimeProfile; `fluid-fuse validate` checks a file without mounting.",
			},
		);
		this.faults = faults;
		this.where = where;
	}
}

/** The JSON path of a key below `base`: `base.key`, or `base["odd key"]`. */
export function below(base: string, key: PropertyKey): string {
	if (typeof key === "number") return `${base}[${key}]`;
	const name = String(key);
	if (!/^[\w-]+$/.test(name)) return `${base}[${quoted(name)}]`;
	return base === "" ? name : `${base}.${name}`;
}

/** How a found text may be shown in a message: shortened, on one line, printable. */
export function shown(value: string): string {
	const text = quoted(value);
	return text.length > 60 ? `${text.slice(0, 57).toWellFormed()}…` : text;
}

/** JSON also escapes what would break the line or turn the direction of writing. */
function quoted(text: string): string {
	return JSON.stringify(text).replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) =>
		Array.from(
			{ length: character.length },
			(_, at) => `\\u${character.charCodeAt(at).toString(16).padStart(4, "0")}`,
		).join(""),
	);
}

/** An address without what looks like its `user:password@`; a password may hold slashes. */
export function withoutPassword(address: string): string {
	const [, scheme = "", rest = ""] = /^([a-z][a-z0-9+.-]*:\/\/)?(.*)$/is.exec(address) ?? [];
	const end = endOfPassword(rest);
	return end === 0 ? address : `${scheme}…@${rest.slice(end)}`;
}

/** Where what looks like `user:password@` ends, at the begin of what follows a scheme; 0: there is none. A password may hold slashes. */
export function endOfPassword(text: string): number {
	const slash = text.indexOf("/");
	const host = slash === -1 ? text : text.slice(0, slash);
	const at = host.lastIndexOf("@");
	const last = text.lastIndexOf("@");
	const isPassword = last !== -1 && host.lastIndexOf(":", last) > at;
	return 1 + (isPassword ? last : at);
}

/** The candidate closest to a misspelt name, when it is close enough to be meant. */
export function nearest(name: string, candidates: Iterable<string>): string | undefined {
	let best: string | undefined;
	let bestDistance = Math.max(1, Math.floor(name.length / 3)) + 1;
	for (const candidate of candidates) {
		if (Math.abs(candidate.length - name.length) >= bestDistance) continue;
		const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
		if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
	}
	return best;
}

/** `(did you mean "region"?)` with a leading space, or nothing. */
export function didYouMean(name: string, candidates: Iterable<string>): string {
	const guess = nearest(name, candidates);
	return guess === undefined ? "" : ` (did you mean ${JSON.stringify(guess)}?)`;
}

/** Levenshtein distance in which swapping two neighbours counts as one step. */
function editDistance(a: string, b: string): number {
	let beforeLast: number[] = [];
	let last = Array.from({ length: b.length + 1 }, (_, column) => column);
	for (let row = 1; row <= a.length; row++) {
		const current = [row];
		for (let column = 1; column <= b.length; column++) {
			const substitution = (last[column - 1] ?? 0) + (a[row - 1] === b[column - 1] ? 0 : 1);
			let steps = Math.min((last[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1, substitution);
			if (row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]) {
				steps = Math.min(steps, (beforeLast[column - 2] ?? 0) + 1);
			}
			current.push(steps);
		}
		[beforeLast, last] = [last, current];
	}
	return last[b.length] ?? 0;
}
