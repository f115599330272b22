/** Text of others, such as a server's message, without what moves the cursor or turns the direction of writing. */
export function terminalText(text: string): string {
	return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) => (character === "\n" ? "\n" : "\uFFFD"));
}

/** Lines `label  text` with the texts below each other, indented; further lines of a text stand below its first. */
export function rows(pairs: readonly (readonly [label: string, text: string])[], indent = "  "): string {
	const width = Math.max(...pairs.map(([label]) => label.length)) + 2;
	return pairs
		.map(([label, text]) => {
			const lines = terminalText(text).trimEnd().split("\n");
			return lines.map((line, index) => `${indent}${(index === 0 ? label : "").padEnd(width)}${line}\n`).join("");
		})
		.join("");
}

/** `1 mount`, `2 mounts`. */
export function count(number: number, noun: string): string {
	return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
