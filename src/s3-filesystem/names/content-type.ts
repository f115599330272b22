import mime from "mime";

/** What files of such names usually hold; undefined: the table does not say. */
export function contentTypeOf(name: string): string | undefined {
	// Without a slash a name such as "html" would be taken for an extension.
	return mime.getType(`/${name}`) ?? undefined;
}
