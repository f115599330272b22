import { accessSync, closeSync, constants, openSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { cachedBinaries } from "../support/pod.ts";

/** What this machine lacks: what it is and how to get it, a line each. Empty when the demo can run. */
export function findMissing(): string[] {
	if (process.platform !== "linux")
		return [`Linux is needed, this is ${process.platform}: use a virtual machine or a privileged container.`];
	const missing: string[] = [];
	if (Number.parseInt(process.versions.node, 10) < 24) {
		missing.push(
			`Node 24 is needed, this is ${process.version}: run \`npm ci\`, then \`npm run demo\`, which uses the Node that npm installed.`,
		);
	}
	if (process.geteuid?.() !== 0) missing.push("Only root may mount: run it as root, such as with `sudo npm run demo`.");
	else if (!mayMount()) {
		missing.push(
			"This container may not mount: start it with `docker run --privileged`, or with CAP_SYS_ADMIN and /dev/fuse.",
		);
	}
	const device = deviceFault();
	if (device !== undefined) missing.push(device);
	if (findProgram("versitygw") === undefined)
		missing.push("The program versitygw is missing: `bash test/setup.sh demo` builds it.");
	const tools = {
		setpriv: "util-linux",
		mount: "mount",
		umount: "mount",
		ps: "procps",
		cat: "coreutils",
		stat: "coreutils",
	};
	for (const [tool, debianPackage] of Object.entries(tools)) {
		if (findProgram(tool) === undefined)
			missing.push(`The program ${tool} is missing: \`apt-get install ${debianPackage}\`.`);
	}
	return missing;
}

function findProgram(name: string): string | undefined {
	const folders = [cachedBinaries, ...(process.env["PATH"] ?? "").split(delimiter)];
	return folders.map((folder) => join(folder, name)).find((file) => isExecutable(file));
}

function isExecutable(file: string): boolean {
	try {
		accessSync(file, constants.X_OK);
		return true;
	} catch {
		// Not in this folder.
		return false;
	}
}

function mayMount(): boolean {
	const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0";
	const capSysAdmin = 21n;
	return (BigInt(`0x${effective}`) >> capSysAdmin) % 2n === 1n;
}

function deviceFault(): string | undefined {
	try {
		closeSync(openSync("/dev/fuse", "r+"));
		return undefined;
	} catch (error) {
		const { code } = error as NodeJS.ErrnoException;
		if (code === "ENOENT")
			return "/dev/fuse is missing: `modprobe fuse` on the machine, and in a container `docker run --privileged`.";
		if (code === "ENODEV" || code === "ENXIO") return "The kernel has no FUSE: `modprobe fuse`.";
		return `/dev/fuse cannot be opened (${code}): in a container use \`docker run --privileged\`.`;
	}
}
