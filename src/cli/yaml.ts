/** What a manifest is made of. What is undefined is left out. */
export type Yaml = string | number | boolean | readonly Yaml[] | Noted | { readonly [key: string]: Yaml | undefined };

/** A value with a comment above it. */
class Noted {
	readonly text: string;
	readonly value: Yaml;

	constructor(text: string, value: Yaml) {
		this.text = text;
		this.value = value;
	}
}

export function noted(text: string, value: Yaml): Yaml {
	return new Noted(text, value);
}

/** One document of YAML, as people write manifests: two spaces, lists below their key, short lists of words on one line. */
export function toYaml(value: Yaml): string {
	return `${lines(value).join("\n")}\n`;
}

function lines(value: Yaml): string[] {
	if (value instanceof Noted) return lines(value.value);
	if (isList(value)) return value.flatMap((item) => under("-", item, 2));
	if (typeof value !== "object") return [scalar(value)];
	return Object.entries(value).flatMap(([key, item]) => (item === undefined ? [] : under(`${scalar(key)}:`, item, 0)));
}

/** `opening` and what belongs to it, on its line or below it; `inline`: by so much a block that begins on the line is indented. */
function under(opening: string, item: Yaml, inline: number): string[] {
	if (item instanceof Noted) return [`# ${item.text}`, ...under(opening, item.value, inline)];
	if (typeof item !== "object") return [`${opening} ${scalar(item)}`];
	if (isList(item) && item.every((word) => typeof word !== "object"))
		return [`${opening} [${item.map((word) => scalar(word)).join(", ")}]`];
	const block = lines(item).map((line) => `  ${line}`);
	if (inline === 0) return [opening, ...block];
	const [first = "", ...rest] = block;
	// A comment stands above the item, where a reader of its first line finds it.
	if (first.startsWith("  #")) return [first.slice(2), ...under(opening, withoutFirstNote(item), inline)];
	return [`${opening} ${first.slice(2)}`, ...rest];
}

function withoutFirstNote(item: Yaml): Yaml {
	const [[key, value] = ["", ""], ...rest] = Object.entries(item);
	return Object.fromEntries([[key, value instanceof Noted ? value.value : (value as Yaml)], ...rest]);
}

function isList(value: Yaml): value is readonly Yaml[] {
	return Array.isArray(value);
}

/** Words that mean something else than themselves, to YAML 1.1 at least. */
const reserved = /^(true|false|yes|no|on|off|y|n|null|~)$/i;
const plain = /^[A-Za-z/<][\w./<>@+=-]*(:[\w./<>@+=-]+)*$/;
/** Kubernetes' quantities, of which no reader makes a number, and flags. */
const plainToo = /^(\d+(m|[KMGT]i)|-[a-z])$/;

function scalar(value: string | number | boolean): string {
	if (typeof value !== "string") return String(value);
	const isPlain = (plain.test(value) && !reserved.test(value)) || plainToo.test(value);
	return isPlain ? value : JSON.stringify(value);
}
