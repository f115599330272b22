import mime from "mime";

/** What s3fs and rclone say of names that tell nothing, and what servers say of objects of which nobody said anything. */
const generic = "application/octet-stream";
const unsaid = new Set([undefined, generic, "binary/octet-stream"]);

/** What files of such names usually hold. */
export function contentTypeOf(name: string): string {
	// Without a slash a name such as "html" would be taken for an extension.
	return mime.getType(`/${name}`) ?? generic;
}

/** Whether the type is only what a file of this name has anyway: nobody has given it another one. */
export function isTypeOfName(type: string | undefined, name: string): boolean {
	return unsaid.has(type) || type === contentTypeOf(name);
}
