import type { Answer } from "./http/connection.ts";
import { rootName } from "./xml.ts";

/** Something on the way to a server answers too, with pages of its own; those of a server have its headers. */
export function isOfServer({ headers, body }: Answer): boolean {
	for (const name of headers.keys()) if (name.startsWith("x-amz-")) return true;
	return rootName(body.toString())?.endsWith("Result") === true;
}
