const entities: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

/** Text of an element or attribute, without its entities. What is none stays. */
export function decodeEntities(text: string): string {
	if (!text.includes("&")) return text;
	return text.replaceAll(/&(?:#x([0-9a-f]{1,6})|#([0-9]{1,7})|([a-z]{1,4}));/gi, (whole, hex, decimal, name) => {
		if (name !== undefined) return entities[name] ?? whole;
		const codePoint = hex === undefined ? Number.parseInt(decimal, 10) : Number.parseInt(hex, 16);
		return codePoint <= 0x10_ff_ff ? String.fromCodePoint(codePoint) : whole;
	});
}

/** Also what a parser would change, such as a carriage return. */
export function encodeText(text: string): string {
	return text.replaceAll(/[&<>"'\r\n\t]/g, (character) => `&#${character.codePointAt(0)};`);
}

/** XML 1.0 has no way to say other control characters, nor halves of surrogate pairs. */
export function isExpressible(text: string): boolean {
	// oxlint-disable-next-line no-control-regex -- those are what it looks for
	return text.isWellFormed() && !/[\0-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/.test(text);
}

/** The text of the first element of that name that holds nothing else. */
export function elementText(xml: string, name: string): string | undefined {
	const open = `<${name}>`;
	const start = xml.indexOf(open);
	if (start === -1) return undefined;
	const end = xml.indexOf("<", start + open.length);
	return end !== -1 && xml.startsWith(`</${name}>`, end)
		? decodeEntities(xml.slice(start + open.length, end))
		: undefined;
}

/** The name of the outermost element; undefined if it is no XML. */
export function rootName(text: string): string | undefined {
	return /^\s*(?:<\?xml[^>]*>\s*)?<([A-Za-z]\w*)[\s/>]/.exec(text)?.[1];
}
