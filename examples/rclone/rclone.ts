import {
	choice,
	defineCommandDriver,
	duration,
	optionFault,
	path,
	s3Check,
	s3Faults,
	s3Options,
	s3PathStyle,
	s3Source,
	size,
	type Secret,
} from "fluid-fuse";

/** rclone mount, 1.60 and later, for S3: https://rclone.org/commands/rclone_mount/ */
export default defineCommandDriver({
	name: "rclone",
	schemes: ["s3", "minio", ""],
	filesystemTypes: ["fuse.rclone"],
	options: {
		...s3Options,
		"vfs-cache-mode": choice(["off", "minimal", "writes", "full"], {
			description:
				"What is kept on disk. off: files are written from start to end, and close waits for the server. writes, full: everything can be written, and what is not uploaded yet is lost with the pod. Default: off.",
		}),
		"vfs-cache-max-size": size({ description: "How much the cache may hold. Default: no limit." }),
		"cache-dir": path({ description: "Where the cache is. Default: /var/cache/rclone." }),
		"dir-cache-time": duration({ description: "How long directories are cached. Default: 5m." }),
	},
	refusedOptions: {
		daemon: "the launcher runs it in the foreground",
		config: "the launcher writes it",
		"read-only": "the access modes of the Dataset decide",
	},
	faults(mount, options) {
		const faults = s3Faults(mount, options);
		for (const name of ["access-key", "secret-key", "session-token"] as const) {
			// In rclone's file a quote begins a quoted value, and space at the ends is lost.
			if (/^["'`]|^\s|\s$/.test(options[name]?.reveal() ?? ""))
				faults.push(
					optionFault(
						name,
						"rclone's configuration cannot hold a quote or space at the beginning, or space at the end",
					),
				);
		}
		if (options["requester-pays"] === true) faults.push(optionFault("requester-pays", "rclone 1.60 cannot do it"));
		return faults;
	},
	version: { file: "rclone", args: ["version"], pattern: /^rclone v(\S+)/ },
	check: s3Check,
	command(mount, options, { mountpoint, directory }) {
		const { bucket, prefix } = s3Source(mount);
		const config = {
			type: "s3",
			provider: "Other",
			env_auth: "false",
			endpoint: options.endpoint?.href.replace(/\/$/, ""),
			region: options.region,
			access_key_id: reveal(options["access-key"]),
			secret_access_key: reveal(options["secret-key"]),
			session_token: reveal(options["session-token"]),
			force_path_style: String(s3PathStyle(mount, options)),
			storage_class: options["storage-class"],
			acl: options.acl,
		};
		const flags = {
			config: `${directory}/rclone.conf`,
			"ca-cert": options["ca-bundle"],
			"cache-dir": options["cache-dir"] ?? "/var/cache/rclone",
			"dir-cache-time": options["dir-cache-time"] && `${options["dir-cache-time"]}ms`,
			"dir-perms": octal(options["dir-mode"] ?? 0o755),
			"file-perms": octal(options["file-mode"] ?? 0o644),
			gid: options.gid ?? 0,
			uid: options.uid ?? 0,
			"vfs-cache-max-size": options["vfs-cache-max-size"] && `${options["vfs-cache-max-size"]}B`,
			"vfs-cache-mode": options["vfs-cache-mode"] ?? "off",
			"allow-other": options["allow-other"] ?? true,
			"read-only": mount.readOnly,
		};
		return {
			file: "rclone",
			args: [
				"mount",
				`storage:${bucket}/${prefix}`,
				mountpoint,
				...given(flags).map(([name, value]) => `--${name}=${value}`),
			],
			files: {
				"rclone.conf": `[storage]\n${given(config)
					.map(([name, value]) => `${name} = ${value}\n`)
					.join("")}`,
			},
		};
	},
});

function given(values: Readonly<Record<string, string | number | boolean | undefined>>) {
	return Object.entries(values).filter(([, value]) => value !== undefined);
}

function reveal(secret: Secret | undefined): string | undefined {
	return secret?.reveal();
}

function octal(mode: number): string {
	return mode.toString(8).padStart(4, "0");
}
