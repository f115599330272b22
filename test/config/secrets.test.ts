import { execFileSync } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { Secret } from "../../src/secrets/secret.ts";
import { readSecret, secretReference } from "../../src/config/secrets.ts";
import { writeAtomically } from "../support/pod.ts";
import { secretsFolder, temporaryFolder } from "./planning.ts";

const read = async (folder: string, secret: string, key: string) =>
	(await readSecret({ secret, key }, folder)).reveal();

describe("secretReference", () => {
	it("sees the path of a secret file below Fluid's folder and below FLUID_FUSE_SECRETS_DIR", () => {
		expect(secretReference("/etc/fluid/secrets/login/key", "/etc/fluid/secrets")).toEqual({
			secret: "login",
			key: "key",
		});
		expect(secretReference("/etc/fluid/secrets/login/a.b-c_d", "/my")).toEqual({ secret: "login", key: "a.b-c_d" });
		expect(secretReference("/my/login/key", "/my")).toEqual({ secret: "login", key: "key" });
	});

	it("sees a secret that is cited without a key", () => {
		expect(secretReference("/etc/fluid/secrets/login", "/my")).toEqual({ secret: "login", key: "" });
		expect(secretReference("/etc/fluid/secrets/login/", "/my")).toEqual({ secret: "login", key: "" });
	});

	it("takes everything else as a value", () => {
		const values = [
			"",
			"x",
			"/etc/fluid/secrets",
			"/etc/fluid/secrets/",
			"/etc/fluid/secrets//key",
			"/etc/fluid/secrets/a/b/c",
			"/etc/fluid/secrets/../shadow",
			"/etc/fluid/secrets/a/..",
			"/etc/fluid/secrets/./a",
			"/etc/fluid/secrets/a/b\0",
			" /etc/fluid/secrets/a/b",
			"/etc/fluid/secretsx/a/b",
			"/etc/shadow",
		];
		for (const value of values) expect(secretReference(value, "/my"), value).toBeUndefined();
	});
});

describe("readSecret", () => {
	it("reads through kubelet's links, also after a rotation", async () => {
		const folder = secretsFolder({ login: { key: "old" } });
		expect(await read(folder, "login", "key")).toBe("old");
		writeAtomically(join(folder, "login"), { key: "new" });
		expect(await read(folder, "login", "key")).toBe("new");
	});

	it("trims exactly one newline at the end", async () => {
		const folder = secretsFolder({
			s: { none: "a", one: "a\n", two: "a\n\n", windows: "a\r\n", front: "\na", spaces: " a \n", only: "\n" },
		});
		expect(await read(folder, "s", "none")).toBe("a");
		expect(await read(folder, "s", "one")).toBe("a");
		expect(await read(folder, "s", "two")).toBe("a\n");
		expect(await read(folder, "s", "windows")).toBe("a");
		expect(await read(folder, "s", "front")).toBe("\na");
		expect(await read(folder, "s", "spaces")).toBe(" a ");
		expect(await read(folder, "s", "only")).toBe("");
	});

	it("reads the file that a path through FLUID_FUSE_SECRETS_DIR being a link leads to", async () => {
		const folder = secretsFolder({ login: { key: "value" } });
		const link = join(temporaryFolder(), "secrets");
		symlinkSync(folder, link);
		expect(await read(link, "login", "key")).toBe("value");
	});

	it("says which Secret and key are missing", async () => {
		const folder = secretsFolder({ login: { key: "value" } });
		const missing = { code: "SECRET_MISSING", permanent: false };
		await expect(read(folder, "other", "key")).rejects.toMatchObject({
			...missing,
			message: "the secret file other/key is not there",
		});
		await expect(read(folder, "login", "kee")).rejects.toMatchObject({
			...missing,
			hint: expect.stringContaining('has the key "kee"'),
		});
		await expect(read(join(folder, "nowhere"), "login", "key")).rejects.toMatchObject(missing);
	});

	it("says that a key is missing in the encryptOption", async () => {
		const folder = secretsFolder({ login: { key: "value" } });
		await expect(read(folder, "login", "")).rejects.toMatchObject({
			code: "SECRET_UNREADABLE",
			permanent: true,
			message: "the secret login is cited without a key",
		});
	});

	it("refuses links out of the folder, folders, pipes, what is too large and what is not text", async () => {
		const folder = secretsFolder({ login: { key: "value" } });
		const outside = join(temporaryFolder(), "outside");
		writeFileSync(outside, "outside-value");
		symlinkSync(outside, join(folder, "login/out"));
		symlinkSync("../../../../../../../../etc/passwd", join(folder, "login/relative"));
		mkdirSync(join(folder, "login/folder"));
		execFileSync("mkfifo", [join(folder, "login/pipe")]);
		writeFileSync(join(folder, "login/large"), "x".repeat(1024 * 1024 + 1));
		writeFileSync(join(folder, "login/bytes"), new Uint8Array([0xff, 0xfe]));
		for (const key of ["out", "relative", "folder", "pipe", "large", "bytes", "..data"]) {
			await expect(read(folder, "login", key), key).rejects.toMatchObject({ code: "SECRET_UNREADABLE" });
			await expect(read(folder, "login", key), key).rejects.not.toThrow(/outside-value|root:/);
		}
	});

	it("does not take a folder beside the root whose name begins alike as inside", async () => {
		const parent = temporaryFolder();
		writeAtomically(join(parent, "secrets/login"), { key: "inside" });
		writeAtomically(join(parent, "secrets-other"), { key: "outside" });
		symlinkSync(join(parent, "secrets-other/key"), join(parent, "secrets/login/link"));
		await expect(read(join(parent, "secrets"), "login", "link")).rejects.toMatchObject({ code: "SECRET_UNREADABLE" });
	});
});

describe("Secret", () => {
	it("shows its value to nobody who does not ask for it", () => {
		const secret = new Secret("hidden-value", "login/key");
		const texts = [
			String(secret),
			JSON.stringify({ secret }),
			inspect(secret),
			inspect({ deep: [secret] }, { depth: 9, showHidden: true }),
		];
		for (const text of texts) {
			expect(text).toContain("login/key");
			expect(text).not.toContain("hidden-value");
		}
		expect(Object.values(secret)).not.toContain("hidden-value");
		expect(secret.reveal()).toBe("hidden-value");
	});
});
