import {
	defineCommandDriver,
	failure,
	flag,
	integer,
	mode,
	secret,
	sourceFault,
	text,
	type Fault,
	type Mount,
} from "fluid-fuse";

/** A folder of a server, through SSH: https://github.com/libfuse/sshfs, 3.7 and later. */
export default defineCommandDriver({
	name: "sshfs",
	schemes: ["sftp", "ssh"],
	filesystemTypes: ["fuse.sshfs"],
	options: {
		"private-key": secret({
			description:
				"The user's private key without a passphrase, in base64 on one line (base64 -w 0 id_ed25519), since values are one line.",
		}),
		"host-key": text(
			{ description: "The server's public key, as a line of known_hosts has it after the name: ssh-ed25519 AAAA…" },
			/^(ssh|ecdsa)-[a-z0-9-]+ [A-Za-z0-9+/]+=*$/,
			"a public key such as ssh-ed25519 AAAA…",
		),
		uid: integer({ description: "Owner of all files as applications see them. Default: 0." }),
		gid: integer({ description: "Group of all files as applications see them. Default: 0." }),
		umask: mode({ description: "Permission bits to take away. Default: none." }),
		"follow-symlinks": flag({ description: "Show what links on the server lead to. Default: false." }),
	},
	refusedOptions: {
		reconnect: "the launcher starts it again, and tells of it",
		password: "it would have to be typed: use private-key",
	},
	faults(mount, options) {
		const faults: Fault[] = [];
		if (parse(mount) === undefined) faults.push(sourceFault("expected sftp://user@server[:port]/folder"));
		for (const name of ["private-key", "host-key"] as const) {
			if (options[name] === undefined) faults.push({ at: { kind: "option", name }, message: "is needed" });
		}
		return faults;
	},
	command(mount, options, { mountpoint, directory }) {
		const { user = "", host = "", port = "22", folder = "" } = parse(mount) ?? {};
		const settings = [
			`IdentityFile=${directory}/key`,
			`UserKnownHostsFile=${directory}/known_hosts`,
			"IdentitiesOnly=yes",
			"StrictHostKeyChecking=yes",
			"PasswordAuthentication=no",
			"BatchMode=yes",
			// A server that is gone ends the program, and the launcher knows.
			"ServerAliveInterval=15",
			"ServerAliveCountMax=3",
			"ConnectTimeout=10",
			"allow_other",
			"default_permissions",
			`uid=${options.uid ?? 0}`,
			`gid=${options.gid ?? 0}`,
		];
		if (options.umask !== undefined) settings.push(`umask=${options.umask.toString(8)}`);
		if (options["follow-symlinks"] === true) settings.push("follow_symlinks");
		if (mount.readOnly) settings.push("ro");
		const key = Buffer.from(options["private-key"]?.reveal() ?? "", "base64").toString("utf8");
		const name = port === "22" ? host : `[${host}]:${port}`;
		return {
			file: "sshfs",
			args: ["-f", "-F", "/dev/null", "-p", port, "-o", settings.join(","), `${user}@${host}:${folder}`, mountpoint],
			files: { key: `${key.trimEnd()}\n`, known_hosts: `${name} ${options["host-key"] ?? ""}\n` },
		};
	},
	diagnose(line) {
		if (line.includes("Host key verification failed"))
			return failure("BACKEND_TLS", "the server has another key than host-key", {
				hint: "Correct host-key, or find out who answers.",
			});
		if (line.includes("Permission denied (publickey"))
			return failure("KEY_UNKNOWN", "the server does not take private-key", {
				hint: "Add its public key to authorized_keys of the user.",
			});
		if (line.includes("Could not resolve hostname"))
			return failure("BACKEND_DNS", "the server's name cannot be resolved");
		if (line.includes("Connection refused")) return failure("BACKEND_REFUSED", "nothing listens at the server's port");
		if (line.includes("No such file or directory")) return failure("BUCKET_MISSING", "the folder is not on the server");
		return undefined;
	},
});

/** No quote, space, comma or backslash: ssh and FUSE give them meanings of their own. */
function parse({ source }: Mount) {
	return /^(?:sftp|ssh):\/\/(?<user>\w[\w.-]*)@(?<host>[A-Za-z0-9][A-Za-z0-9.-]*)(?::(?<port>\d{1,5}))?(?<folder>\/[\w./@+=-]*)$/.exec(
		source,
	)?.groups;
}
