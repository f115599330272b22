import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import { projectRoot } from "../support/pod.ts";
import { MountedBucket } from "./mounted-bucket.ts";

/** Claims of SEMANTICS.md that libfuse cannot keep, each with its reason; docs/libfuse.md lists the same. */
const notKept: Readonly<Record<string, string>> = {
	"lets the server decide at close whether a file opened with O_EXCL is new":
		"fuse-native does not hand on the flags with which a file is made",
	"lets who is killed go at once, whatever the server does": "libfuse hands on no interrupts",
	"keeps times to the nanosecond": "fuse-native hands on milliseconds",
	"shows one link of a directory, and none of one that was removed while it was open":
		"libfuse asks for directories by their paths only",
};

MountedBucket.transport = "libfuse";

beforeEach(({ task, skip }) => {
	const reason = notKept[task.name];
	if (reason !== undefined) skip(reason);
});

await import("./semantics.test.ts");

test("docs/libfuse.md names the claims that are not kept, and no other", () => {
	const page = readFileSync(join(projectRoot, "docs/libfuse.md"), "utf8");
	const [, section = ""] = page.split("\n## Claims that are not kept\n");
	const claims = [...(section.split("\n## ")[0] ?? "").matchAll(/^- (.+?):$/gm)].map(([, claim]) => claim);
	expect(claims).toEqual(Object.keys(notKept));
});
