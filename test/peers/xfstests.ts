import { once } from "node:events";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { execa } from "execa";
import type { Pod } from "../support/pod.ts";
import type { Outcome, Outcomes } from "./compare.ts";
import type { Suite } from "./suite.ts";

/** A bucket that xfstests takes for a disk. */
interface Device {
	readonly name: string;
	readonly pod: Pod;
}

export const xfstests: Suite = {
	name: "xfstests",
	variable: "XFSTESTS",
	place: "folder of xfstests, built",
	divisible: true,
	async run(path, stage, tests) {
		const test = { name: "s3://test/", pod: await stage.mount("test") };
		const scratch = { name: "s3://scratch/", pod: await stage.mount("scratch") };
		// Some of its tests are other users.
		for (const { pod } of [test, scratch]) await chmod(pod.folder, 0o755);
		const programs = join(stage.folder, "programs");
		const socket = join(stage.folder, "mounts.sock");
		await mkdir(programs);
		for (const [name, text] of Object.entries(wrappers(socket, [test.pod.target, scratch.pod.target]))) {
			await writeFile(join(programs, name), text);
			await chmod(join(programs, name), 0o755);
		}
		const server = await serveMounts([test, scratch], socket);
		try {
			const { output } = await stage.run("./check", tests.length === 0 ? ["-g", "quick"] : tests, {
				cwd: path,
				env: {
					PATH: `${programs}:${process.env["PATH"] ?? ""}`,
					FSTYP: "fuse",
					FUSE_SUBTYP: ".thin-s3",
					TEST_DEV: test.name,
					TEST_DIR: test.pod.target,
					SCRATCH_DEV: scratch.name,
					SCRATCH_MNT: scratch.pod.target,
					RESULT_BASE: join(stage.kept, "xfstests"),
				},
			});
			return parseCheck(output);
		} finally {
			server.closeAllConnections();
			server.close();
		}
	},
};

/**
 * Programs that xfstests finds before the system's: the launcher mounts, the kind is called as xfstests calls it, and the place where
 * the launcher mounts first is not seen.
 */
function wrappers(socket: string, targets: readonly string[]): Readonly<Record<string, string>> {
	const ask = (what: string): string =>
		`curl --silent --fail-with-body --unix-socket '${socket}' --data-binary "$*" http://peers/${what}`;
	return {
		mount: `#!/bin/sh
case " $* " in
*" -t fuse.thin-s3 "*) ${ask("mount")} >&2 || exit 32 ;;
*) exec /usr/bin/mount "$@" ;;
esac
`,
		umount: `#!/bin/sh
answer=$(${ask("umount")}) || { echo "$answer" >&2; exit 32; }
[ "$answer" = done ] || exec /usr/bin/umount "$@"
`,
		// Without paths it would ask each filesystem of the machine, some of which may hang.
		df: `#!/bin/sh
case " $*" in
*" "[!-]*) ;;
*) set -- "$@" / ${targets.map((target) => `'${target}'`).join(" ")} ;;
esac
/usr/bin/df "$@" | sed 's/fuse\\.thin-s3/fuse/'
`,
		findmnt: `#!/bin/sh
/usr/bin/findmnt "$@" | sed -E '/\\/staging$|\\/layers\\//d' | uniq
`,
	};
}

/** Mounts and unmounts what xfstests asks for, on a socket. */
async function serveMounts(devices: readonly Device[], socket: string): Promise<Server> {
	const server = createServer((request, response) => {
		text(request)
			.then(async (body) => {
				const words = body.split(" ");
				const device = devices.find(({ name, pod }) => words.includes(name) || words.includes(pod.target));
				if (request.url === "/mount") return mount(device, words);
				return unmount(device);
			})
			.then(
				(answer) => response.end(answer),
				(error: unknown) => response.writeHead(500).end(String(error)),
			);
	});
	server.listen(socket);
	await once(server, "listening");
	return server;
}

async function mount(device: Device | undefined, words: readonly string[]): Promise<string> {
	if (device === undefined) throw new Error(`mount: unknown device in ${words.join(" ")}`);
	const { pod } = device;
	if (await isMounted(pod)) throw new Error(`mount: ${pod.target} is busy`);
	const options = words.flatMap((word, index) => (words[index - 1] === "-o" ? word.split(",") : []));
	const accessModes = options.includes("ro") ? ["ReadOnlyMany"] : ["ReadWriteMany"];
	pod.writeConfig(pod.renderConfig({ accessModes }));
	pod.start();
	await pod.untilReady();
	const others = options.filter((option) => option !== "ro" && option !== "rw" && option !== "defaults");
	if (others.length > 0) await execa("mount", ["-i", "-o", ["remount", ...others].join(","), pod.target]);
	return "";
}

async function unmount(device: Device | undefined): Promise<string> {
	if (device === undefined) return "unknown";
	if (!(await isMounted(device.pod))) throw new Error(`umount: ${device.pod.target}: not mounted.`);
	await device.pod.stop();
	await mkdir(device.pod.target, { recursive: true });
	return "done";
}

async function isMounted(pod: Pod): Promise<boolean> {
	return (await pod.layers()).length > 0;
}

/** The end of what `check` printed, and its lines about what it did not run or what failed. */
export function parseCheck(output: string): Outcomes {
	const outcomes = new Map<string, Outcome>();
	const names = (label: string): string[] =>
		(new RegExp(`^${label}: (.*)$`, "m").exec(output)?.[1] ?? "").split(" ").filter((name) => name !== "");
	for (const name of names("Ran")) outcomes.set(name, { kind: "passed" });
	for (const name of names("Not run")) {
		const said = new RegExp(`^${name}.*\\[not run\\] *(.*)$`, "m").exec(output)?.[1] ?? "";
		outcomes.set(name, { kind: "skipped", said });
	}
	for (const name of names("Failures")) {
		const said = new RegExp(`^${name}.*?((?:\\[failed|- output mismatch|_check).*(?:\n {4}.*)*)`, "m").exec(
			output,
		)?.[1];
		outcomes.set(name, { kind: "failed", said: said ?? "failed" });
	}
	return outcomes;
}
