import { realpath, stat } from "node:fs/promises";
import { join, sep } from "node:path";
import { LauncherError } from "../errors.ts";
import { FileFault, readRegularFile } from "../named-file.ts";
import { Secret } from "../secrets/secret.ts";

/** What comes after the hint where not even the Secret's folder is there. */
const notMounted =
	" It is not mounted in this pod at all: a CacheRuntimeClass has to say topology.client.dependencies.secretMount.enabled: true, and a Secret that is cited later comes with the next pod.";

/** Where Fluid says that secrets are; FLUID_FUSE_SECRETS_DIR is where they really are. */
const fluidSecrets = "/etc/fluid/secrets";

const maximumBytes = 1024 * 1024;

/** `<secret>/<key>` when the value is the path of a secret file, as Fluid's default mode writes one, else undefined. */
export function secretReference(value: string, secretsDirectory: string): { secret: string; key: string } | undefined {
	for (const root of [fluidSecrets, secretsDirectory]) {
		if (!value.startsWith(`${root}/`)) continue;
		const parts = value.slice(root.length + 1).split("/");
		const [secret, key] = parts;
		if (parts.length > 2 || secret === undefined || secret === "" || value.includes("\0")) continue;
		if (secret === "." || secret === ".." || key === "." || key === "..") continue;
		return { secret, key: key ?? "" };
	}
	return undefined;
}

/**
 * Reads one secret file. Throws SECRET_MISSING while kubelet has not put it there, SECRET_UNREADABLE when the path
 * leads out of the directory, names no key, or is not text.
 */
export async function readSecret(
	reference: { secret: string; key: string },
	secretsDirectory: string,
): Promise<Secret> {
	const { secret, key } = reference;
	const label = `${secret}/${key}`;
	if (key === "") {
		throw new LauncherError("SECRET_UNREADABLE", `the secret ${secret} is cited without a key`, {
			hint: "Set valueFrom.secretKeyRef.key of the encryptOption.",
		});
	}
	const path = join(secretsDirectory, secret, key);
	try {
		// kubelet's files are links through ..data, which stay below the secret's own directory.
		const [root, real] = await Promise.all([realpath(secretsDirectory), realpath(path)]);
		if (!real.startsWith(root + sep)) {
			throw new LauncherError("SECRET_UNREADABLE", `the secret file ${label} is a link out of ${secretsDirectory}`);
		}
		const text = new TextDecoder("utf-8", { fatal: true }).decode(await readRegularFile(real, maximumBytes));
		return new Secret(text.replace(/\r?\n$/, ""), label);
	} catch (error) {
		if (error instanceof LauncherError) throw error;
		if (error instanceof FileFault)
			throw new LauncherError("SECRET_UNREADABLE", `the secret file ${label} ${error.message}`);
		if (error instanceof TypeError)
			throw new LauncherError("SECRET_UNREADABLE", `the secret file ${label} is not UTF-8 text`);
		const { code } = error as NodeJS.ErrnoException;
		const missing = code === "ENOENT" || code === "ENOTDIR";
		throw new LauncherError(
			missing ? "SECRET_MISSING" : "SECRET_UNREADABLE",
			missing ? `the secret file ${label} is not there` : `the secret file ${label} cannot be read: ${code}`,
			{
				hint: `Check that the Secret ${JSON.stringify(secret)} exists in the Dataset's namespace and has the key ${JSON.stringify(key)}.${(await isFolder(join(secretsDirectory, secret))) ? "" : notMounted}`,
				cause: error,
			},
		);
	}
}

async function isFolder(path: string): Promise<boolean> {
	const found = await stat(path).catch(() => undefined);
	return found?.isDirectory() === true;
}
