import { expect, test } from "vitest";
import { createLogger } from "../../src/log.ts";
import { createIdentity } from "../../src/s3/identity/identity.ts";
import { createRedactor } from "../../src/secrets/redact.ts";
import { SharedMount } from "../../src/supervisor/shared-mount.ts";
import { fileWith, planOf, targetPath } from "../config/planning.ts";

test("a mount that is removed twice takes no other one with it", async () => {
	const names = ["one", "two", "three"];
	const { mounts } = planOf(fileWith(names.map((name) => ({ mountPoint: `s3://${name}-bucket`, name }))));
	const shared = new SharedMount({
		mounts,
		targetPath,
		variables: {},
		identity: createIdentity({}),
		timing: { backendEveryMs: 30_000 },
		logOf: () => createLogger("silent", createRedactor(), { write: () => undefined }),
		redact: (text) => text,
		events: { error: () => undefined },
	});
	const member = shared.member(`${targetPath}/two`);
	if (member === undefined) throw new Error("there is no such mount");
	const limits = { visibleMs: 0, hiddenMs: 0 };
	await Promise.all([shared.remove(member, limits).removed, shared.remove(member, limits).removed]);
	await shared.remove(member, limits).removed;
	expect(shared.names).toEqual(["one", "three"]);
});
