import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { sh, useBuckets } from "./buckets.ts";

const buckets = useBuckets("unmounting");

test("files that were removed while they were open have left nothing when the mount has ended", async () => {
	const here = await buckets.mountThroughProxy();
	await sh(here, "for name in a b c d; do echo x >$name; done");
	await buckets.proxy.fail(
		{ kind: "headers", headers: {} },
		{ only: ({ method }) => method === "DELETE", before: async () => delay(700) },
	);
	// Their last handles go, and with them their objects, after rm has ended.
	await sh(here, "exec 3<a 4<b 5<c 6<d; rm a b c d");
	await here.unmount();
	expect(await buckets.minio.list(buckets.name)).toEqual([]);
});
