import type { ListPage, ListRequest, ObjectStore } from "./object-store.ts";

/** A listing to its end. */
export async function* pagesOf(
	store: ObjectStore,
	request: Omit<ListRequest, "continuationToken">,
): AsyncGenerator<ListPage> {
	let token: string | undefined;
	do {
		const page = await store.list({ ...request, ...(token !== undefined && { continuationToken: token }) });
		yield page;
		token = page.nextToken;
	} while (token !== undefined);
}
