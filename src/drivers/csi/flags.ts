/** The flags of a command line as csi-s3 splits it: at spaces that are not in quotes. A word without a dash is the value of the one before. */
export function* flagsOf(text: string): Generator<[name: string, value: string]> {
	// Behind a quote that does not end no other one does, and they are as spaces. To look for the end of each would take for ever.
	const unended = text.matchAll(/"(?:[^"\\]|\\.?)*("|$)/gs).find(([, end]) => end === "")?.index ?? text.length;
	const quoting = text.slice(0, unended).matchAll(/(?:[^\s"]+|"(?:[^"\\]|\\.)*")+/gs);
	const words = [...quoting, ...text.slice(unended).matchAll(/[^\s"]+/g)].map(([word]) =>
		word.replaceAll(/"((?:[^"\\]|\\.)*)"/gs, (_, quoted: string) => quoted.replaceAll(/\\(.)/gs, "$1")),
	);
	for (let index = 0; index < words.length; index++) {
		const word = words[index] ?? "";
		// What belongs to -o may follow it without a space.
		const [, flag = word, inline] = /^-(o)(?=[^=-])(.*)$/s.exec(word) ?? /^--?([^=]*)(?:=(.*))?$/s.exec(word) ?? [];
		const next = words[index + 1];
		const takesNext = inline === undefined && next !== undefined && !next.startsWith("-");
		if (takesNext) index++;
		const value = inline ?? (takesNext ? next : "");
		if (flag !== "o") {
			yield [flag, value];
			continue;
		}
		for (const part of value.split(",")) {
			const equals = part.indexOf("=");
			yield [`o ${equals === -1 ? part : part.slice(0, equals)}`, equals === -1 ? "" : part.slice(equals + 1)];
		}
	}
}
