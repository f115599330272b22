/** One line of what a stranger wrote: no control, formatting or unassigned characters, and at most `maxLength` of it. */
export function printable(text: string, maxLength: number): string {
	const line = text.replaceAll(/[\p{C}\p{Z}]+/gu, " ").trim();
	return line.length <= maxLength ? line : `${line.slice(0, maxLength).toWellFormed()}…`;
}
