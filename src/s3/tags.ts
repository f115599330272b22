import { encodeStrictly } from "./location.ts";
import { elementText } from "./xml.ts";

/** The tags of an answer to GetObjectTagging, as the header that gives them to another object; undefined: there are none. */
export function tagsHeader(xml: string): string | undefined {
	const [, ...tags] = xml.split("<Tag>");
	const pairs = tags.map(
		(tag) => `${encodeStrictly(elementText(tag, "Key") ?? "")}=${encodeStrictly(elementText(tag, "Value") ?? "")}`,
	);
	return pairs.length === 0 ? undefined : pairs.join("&");
}
