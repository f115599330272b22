import { elementText } from "./xml.ts";

export interface DeleteFailure {
	readonly key: string;
	readonly code: string;
	readonly message: string;
}

/** What the answer to DeleteObjects says could not be deleted. */
export function parseDeleteAnswer(xml: string): DeleteFailure[] {
	const failures: DeleteFailure[] = [];
	for (let start = xml.indexOf("<Error>"); start !== -1;) {
		const end = xml.indexOf("</Error>", start);
		if (end === -1) break;
		const error = xml.slice(start, end);
		failures.push({
			key: elementText(error, "Key") ?? "",
			code: elementText(error, "Code") ?? "",
			message: elementText(error, "Message") ?? "",
		});
		start = xml.indexOf("<Error>", end);
	}
	return failures;
}
