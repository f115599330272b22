import {
	defineCommandDriver,
	endpointUrl,
	optionFault,
	path,
	secret,
	size,
	sourceFault,
	text,
	type Fault,
	type Mount,
} from "fluid-fuse";

/** JuiceFS, the community edition: https://juicefs.com/docs/community/command_reference#mount */
export default defineCommandDriver({
	name: "juicefs",
	schemes: ["juicefs"],
	cachePlace: ({ folder, bytes }) => ({ "cache-dir": folder, "cache-size": `${Math.floor(bytes / 1024 ** 2)}Mi` }),
	filesystemTypes: ["fuse.juicefs"],
	options: {
		metaurl: secret({
			description: "Address of the metadata engine, such as redis://:password@redis:6379/1: a secret for its password.",
		}),
		bucket: endpointUrl({
			description: "Address of the bucket, instead of the one that the volume was formatted with.",
		}),
		"cache-dir": path({ description: "Where the cache is. Default: /var/cache/juicefs." }),
		"cache-size": size({ description: "How much the cache may hold. Default: 100Gi." }, { min: 1024 ** 2 }),
		"storage-class": text({ description: "Storage class of new objects." }, /^[A-Za-z_]{1,64}$/, "a storage class"),
	},
	refusedOptions: {
		token: "it belongs to the enterprise edition, whose program takes it on the command line",
		"access-key": "the volume holds it since it was formatted",
		"secret-key": "the volume holds it since it was formatted",
		d: "the launcher runs it in the foreground",
		background: "the launcher runs it in the foreground",
	},
	faults(mount, { metaurl }) {
		const faults: Fault[] = [];
		if (parse(mount) === undefined) faults.push(sourceFault("expected juicefs://volume[/folder]"));
		if (metaurl === undefined) faults.push(optionFault("metaurl", "is needed"));
		else if (!/^[a-z]+:\/\/\S+$/.test(metaurl.reveal()))
			faults.push(optionFault("metaurl", "expected an address such as redis://:password@redis:6379/1"));
		return faults;
	},
	command(mount, options, { mountpoint, directory }) {
		const folder = parse(mount)?.["folder"];
		const flags = {
			bucket: options.bucket?.href,
			"cache-dir": options["cache-dir"] ?? "/var/cache/juicefs",
			"cache-size": options["cache-size"] && Math.floor(options["cache-size"] / 1024 ** 2),
			"storage-class": options["storage-class"],
			subdir: folder,
		};
		const args = Object.entries(flags).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}=${value}`]));
		return {
			file: "juicefs",
			args: [
				"mount",
				"--foreground",
				"--no-usage-report",
				...args,
				"-o",
				"allow_other",
				...(mount.readOnly ? ["--read-only"] : []),
				withoutPassword(options.metaurl?.reveal() ?? ""),
				mountpoint,
			],
			env: { META_PASSWORD: passwordIn(options.metaurl?.reveal() ?? ""), HOME: directory },
		};
	},
});

/** The volume's name is for people: the metadata engine knows which one it holds. */
function parse({ source }: Mount) {
	return /^juicefs:\/\/(?<volume>[a-z0-9][a-z0-9-]{1,61}[a-z0-9])(?<folder>\/[\w./@+=-]+)?\/?$/.exec(source)?.groups;
}

const address = /^([a-z]+:\/\/[^:@/]*)(?::(.*))?(@[^@]*)$/;

/** juicefs takes the password from META_PASSWORD when the address has none. */
function withoutPassword(url: string): string {
	return url.replace(address, "$1$3");
}

function passwordIn(url: string): string {
	return address.exec(url)?.[2] ?? "";
}
