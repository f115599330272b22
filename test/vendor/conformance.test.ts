import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startMinio, type Minio } from "../support/minio.ts";
import { program, projectRoot, writeAtomically } from "../support/pod.ts";

let minio: Minio;
const folder = mkdtempSync(join(tmpdir(), "fluid-fuse-vendor-"));
beforeAll(async () => {
	minio = await startMinio();
	await minio.createBucket("conformance");
	writeAtomically(join(folder, "secrets/login"), { access: minio.accessKey, secret: minio.secretKey });
});
afterAll(async () => {
	await minio.stop();
	rmSync(folder, { recursive: true });
});

const rclone = readFileSync(join(projectRoot, "examples/rclone/rclone.ts"), "utf8");

interface Answer {
	readonly ok: boolean;
	readonly results: readonly {
		readonly name: string;
		readonly outcome: { readonly kind: string; readonly reason?: string };
	}[];
}

/** The report on rclone with something else in its driver file. */
async function conformanceOf(found = "", replacement = "", fields: object = {}) {
	expect(rclone).toContain(found);
	writeFileSync(
		join(folder, "rclone.ts"),
		rclone.replace(found, () => replacement),
	);
	const options = {
		endpoint: minio.endpoint,
		"access-key": join(folder, "secrets/login/access"),
		"secret-key": join(folder, "secrets/login/secret"),
	};
	const mounts = [{ mountPoint: "s3://conformance", options }];
	const file = join(folder, "config.json");
	writeFileSync(file, JSON.stringify({ mounts, targetPath: "/mnt/target", accessModes: ["ReadWriteMany"], ...fields }));
	const { exitCode, stdout, stderr } = await execa(program, ["conformance", "rclone", file, "--json"], {
		env: { FLUID_FUSE_DRIVERS_DIR: folder, FLUID_FUSE_SECRETS_DIR: join(folder, "secrets") },
		reject: false,
		timeout: 55_000,
	});
	expect(stdout + stderr).not.toContain(minio.secretKey);
	const { ok, results } = JSON.parse(stdout) as Answer;
	const not = results.flatMap(({ name, outcome: { kind, reason } }) =>
		kind === "passed" ? [] : [`${kind} ${name}: ${reason}`],
	);
	return { exitCode, ok, not, count: results.length };
}

test("a driver that keeps every promise passes, and leaves nothing in the backend", async () => {
	expect(await conformanceOf()).toEqual({ exitCode: 0, ok: true, not: [], count: 12 });
	expect(await minio.list("conformance")).toEqual([]);
});

test("writing is skipped aloud where the config's mount is read-only", async () => {
	const { exitCode, not } = await conformanceOf("", "", { accessModes: ["ReadOnlyMany"] });
	expect(exitCode).toBe(0);
	expect(not).toEqual([
		"skipped writes, and reads it again after another start: the config's mount is read-only; accessModes: [ReadWriteMany] has it tried",
	]);
});

test.each([
	[
		"goes into the background",
		'"allow-other": options',
		'daemon: true, "allow-other": options',
		/^failed mounts, .*: the program has ended without an error: it went into the background/,
	],
	[
		"declares another filesystem type",
		'["fuse.rclone"]',
		'["fuse.other"]',
		/^failed mounts, .*: the kernel lists fuse\.rclone, filesystemTypes has fuse\.other$/,
	],
	[
		"forgets to mount read-only",
		'"read-only": mount.readOnly,',
		"",
		/^failed enforces read-only in the mount: .*: mount\.readOnly is for the command$/,
	],
	[
		"puts a secret on the command line",
		'"allow-other": options',
		'"s3-secret-access-key": reveal(options["secret-key"]), "allow-other": options',
		/^failed shows no secret in its command line: args hold a secret: put it into files$/,
	],
	[
		"lacks its program",
		'file: "rclone",\n\t\t\targs',
		'file: "no-such-program",\n\t\t\targs',
		/^failed mounts, .*the driver rclone needs the program no-such-program, which is not in this image/,
	],
])("a driver that %s fails, with what to do", async (_, found, replacement, expected) => {
	const { exitCode, ok, not } = await conformanceOf(found, replacement);
	expect({ exitCode, ok }).toEqual({ exitCode: 75, ok: false });
	expect(not[0]).toMatch(expected);
});
