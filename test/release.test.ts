import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterEach, expect, it } from "vitest";

const project = join(import.meta.dirname, "..");
const folders: string[] = [];

afterEach(async () => {
	for (const folder of folders.splice(0)) await rm(folder, { recursive: true });
});

it("makes a release with one command: the version, the changelog's chapter, a commit and a tag", async () => {
	const { folder, git, release } = await repository(
		"# Changelog\n\n## Unreleased\n\n- **Mounts**.\n\n## 0.0.9\n\n- Older.\n",
	);
	await release("0.2.0");
	const today = new Date().toISOString().slice(0, 10);
	expect(await readFile(join(folder, "CHANGELOG.md"), "utf8")).toBe(
		`# Changelog\n\n## Unreleased\n\n## 0.2.0 (${today})\n\n- **Mounts**.\n\n## 0.0.9\n\n- Older.\n`,
	);
	for (const file of ["package.json", "package-lock.json"])
		expect(JSON.parse(await readFile(join(folder, file), "utf8"))).toMatchObject({ version: "0.2.0" });
	expect(await git("status", "--porcelain")).toBe("");
	expect(await git("log", "--format=%s", "-1", "v0.2.0")).toBe("Release 0.2.0");
	expect(await git("cat-file", "-t", "v0.2.0")).toBe("tag");
});

it("makes no release of which the changelog says nothing", async () => {
	const { git, release } = await repository("# Changelog\n\n## Unreleased\n\n## 0.0.9\n\n- Older.\n");
	await expect(release("0.2.0")).rejects.toMatchObject({
		stderr: expect.stringContaining("write what this version changes for operators") as string,
	});
	expect(await git("tag")).toBe("");
	expect(await git("status", "--porcelain")).toBe("");
});

async function repository(changelog: string): Promise<{
	readonly folder: string;
	readonly git: (...args: string[]) => Promise<string>;
	readonly release: (version: string) => Promise<unknown>;
}> {
	const folder = await mkdtemp(join(tmpdir(), "fluid-fuse-release-"));
	folders.push(folder);
	for (const name of ["package.json", "package-lock.json", "release"])
		await cp(join(project, name), join(folder, name), { recursive: true });
	await writeFile(join(folder, "CHANGELOG.md"), changelog);
	const who = {
		GIT_AUTHOR_NAME: "a",
		GIT_AUTHOR_EMAIL: "a@example",
		GIT_COMMITTER_NAME: "a",
		GIT_COMMITTER_EMAIL: "a@example",
	};
	const options = { cwd: folder, env: { ...who, npm_config_update_notifier: "false" } };
	const git = async (...args: string[]): Promise<string> => (await execa("git", args, options)).stdout;
	await git("init", "--quiet");
	await git("add", "--all");
	await git("commit", "--quiet", "--message", "Begin");
	return { folder, git, release: async (version) => execa("npm", ["run", "release", "--", version], options) };
}
