import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { execa } from "execa";
import { readMountinfo } from "../../src/mounts/mountinfo.ts";
import { cachedBinaries, projectRoot } from "../support/pod.ts";

export type ImageName = "native" | "goofys" | "s3fs";

/** The images of this checkout, built, with what the build said of their size. */
export interface Images {
	readonly references: Readonly<Record<ImageName, string>>;
	readonly megabytes: Readonly<Record<ImageName, number>>;
	/** Builds what a vendor's folder makes of one of them, and returns its name. */
	buildOn(base: ImageName, name: string, folder: string): Promise<string>;
	/** Lets the next test file have the store, and leaves nothing of it mounted. */
	release(): Promise<void>;
}

/** From nothing, building takes minutes. */
export const buildLimitMs = 1_500_000;

const folder = resolve(cachedBinaries, "../images");
const graph = join(folder, "store");
const run = "/run/fluid-fuse-images";
/** Beyond this the store begins anew: layers of checkouts long gone. */
const largestStoreKilobytes = 12 * 1024 ** 2;

/** A store and settings of our own, so that the machine's are neither needed nor touched. */
const environment = {
	CONTAINERS_STORAGE_CONF: join(folder, "storage.conf"),
	CONTAINERS_CONF: join(folder, "containers.conf"),
	// No container is needed to build one.
	BUILDAH_ISOLATION: "chroot",
};

function writeSettings(): void {
	mkdirSync(folder, { recursive: true });
	writeFileSync(
		environment.CONTAINERS_STORAGE_CONF,
		`[storage]\ndriver = "overlay"\ngraphroot = "${graph}"\nrunroot = "${run}/storage"\n`,
	);
	writeFileSync(
		environment.CONTAINERS_CONF,
		[
			"[engine]",
			'cgroup_manager = "cgroupfs"',
			'events_logger = "none"',
			'runtime = "runc"',
			`tmp_dir = "${run}/libpod"`,
			"[containers]",
			'default_ulimits = ["nofile=20000:20000", "nproc=10000:10000"]',
			'log_driver = "k8s-file"',
			'netns = "host"',
			"",
		].join("\n"),
	);
}

interface ToolOptions {
	readonly timeout?: number;
	readonly reject?: boolean;
}

/** Runs a program with the tests' store as that of podman and buildah. What it prints on stderr is in the error. */
function inStore(file: string, args: readonly string[], options: ToolOptions = {}) {
	return execa(file, args, { env: environment, timeout: 60_000, stdin: "ignore", ...options });
}

export const podman = (args: readonly string[], options: ToolOptions = {}) => inStore("podman", args, options);

/**
 * Builds the images, unless those of the same sources are there. One test file at a time has the store: two would make each other
 * late, and the first to end takes its mounts away.
 */
export async function takeImages(): Promise<Images> {
	writeSettings();
	// It ends with this process too, because then nobody has the other end of its input.
	const lock = execa("flock", ["--no-fork", join(folder, "lock"), "sh", "-c", "echo taken; exec cat"], {
		stdin: "pipe",
		buffer: false,
		reject: false,
	});
	// Its only line: the lock is ours.
	await once(lock.stdout, "data");
	const release = async (): Promise<void> => {
		// What builds left, and podman's own mount below all of it.
		const mounted = (await readMountinfo()).filter(({ mountPoint }) => mountPoint.startsWith(`${graph}/`));
		for (const { mountPoint } of mounted.toReversed()) await execa("umount", [mountPoint], { reject: false });
		lock.stdin.end();
		await lock;
	};
	try {
		// What a test run that was killed has left.
		await podman(["rm", "--force", "--all", "--time", "0"]);
		await inStore("buildah", ["rm", "--all"]);
		return { ...(await build()), release };
	} catch (error) {
		await release();
		throw error;
	}
}

const name = "localhost/fluid-fuse-test";

async function build(): Promise<Omit<Images, "release">> {
	const tag = await sourcesHash();
	const references = { native: `${name}:${tag}`, goofys: `${name}-goofys:${tag}`, s3fs: `${name}-s3fs:${tag}` };
	const record = join(folder, "sizes.json");
	const recorded = existsSync(record) ? (JSON.parse(readFileSync(record, "utf8")) as { tag?: string }) : {};
	if (recorded.tag !== tag || !(await areThere(Object.values(references)))) {
		await startAnewIfLarge();
		const bases = await inStore(join(projectRoot, "test/images/make-bases"), [], { timeout: 600_000 });
		const [modules, cache] = (await execa("go", ["env", "GOMODCACHE", "GOCACHE"])).stdout.split("\n");
		const built = await inStore(
			join(projectRoot, "images/build"),
			[
				"--builder",
				"buildah",
				"--name",
				name,
				"--tag",
				tag,
				"--",
				"--network=host",
				// Base images that can be had without a registry.
				...bases.stdout.split("\n").flatMap((argument) => ["--build-arg", argument]),
				// goofys was built for the other tests already.
				`--volume=${modules}:/go/pkg/mod`,
				`--volume=${cache}:/root/.cache/go-build`,
			],
			{ timeout: 900_000 },
		);
		const sizes = [...built.stdout.matchAll(/: ([\d.]+) MB compressed$/gm)].map(([, size]) => Number(size));
		writeFileSync(record, JSON.stringify({ tag, sizes }));
	}
	const { sizes = [] } = JSON.parse(readFileSync(record, "utf8")) as { sizes?: number[] };
	const [native = Infinity, goofys = Infinity, s3fs = Infinity] = sizes;
	return {
		references,
		megabytes: { native, goofys, s3fs },
		buildOn: async (base, vendor, vendorFolder) => {
			const reference = `${name}-${vendor}:${tag}`;
			const basedOn = ["--build-arg", `BASE=${references[base]}`];
			await inStore("buildah", ["build", "--layers", "--network=host", ...basedOn, "--tag", reference, vendorFolder], {
				timeout: 300_000,
			});
			return reference;
		},
	};
}

async function areThere(references: readonly string[]): Promise<boolean> {
	for (const reference of references) {
		if ((await podman(["image", "exists", reference], { reject: false })).exitCode !== 0) return false;
	}
	return true;
}

async function startAnewIfLarge(): Promise<void> {
	if (!existsSync(graph)) return;
	const { stdout } = await execa("du", ["-sk", graph], { reject: false });
	if (Number.parseInt(stdout, 10) > largestStoreKilobytes) {
		await podman(["system", "reset", "--force"], { timeout: 300_000 });
		rmSync(graph, { recursive: true, force: true });
	}
}

/** Of everything that the images are made from. */
async function sourcesHash(): Promise<string> {
	const sources = [
		"Dockerfile*",
		".dockerignore",
		"images",
		"src",
		"types",
		"bin",
		"package*.json",
		"rolldown.config.ts",
		"LICENSE",
		"examples/minio/config.json",
	];
	const { stdout } = await execa(
		"git",
		["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", ...sources, "test/images/make-bases"],
		{ cwd: projectRoot },
	);
	const hash = createHash("sha256");
	for (const file of stdout.split("\0").filter((path) => path !== "" && existsSync(join(projectRoot, path)))) {
		hash
			.update(`${file}\0`)
			.update(readFileSync(join(projectRoot, file)))
			.update("\0");
	}
	return hash.digest("hex").slice(0, 16);
}
