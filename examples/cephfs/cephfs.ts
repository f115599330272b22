import { defineCommandDriver, optionFault, secret, sourceFault, text, type Fault, type Mount } from "fluid-fuse";

/** CephFS through ceph-fuse: https://docs.ceph.com/en/latest/man/8/ceph-fuse/ */
export default defineCommandDriver({
	name: "cephfs",
	schemes: ["ceph", "cephfs"],
	filesystemTypes: ["fuse.ceph-fuse", "fuse.ceph"],
	options: {
		fsid: text({ description: "Id of the cluster. Default: what the monitors say." }, /^[0-9a-f-]{36}$/, "a UUID"),
		mon_host: text(
			{ description: "Addresses of the monitors, separated by commas.", aliases: ["mon-host"] },
			/^[\w.:,[\]/-]+$/,
			"addresses such as 10.0.0.1:6789,10.0.0.2:6789",
		),
		auth_client: text({ description: "Name of the user, without client. Default: admin." }, /^[\w.-]+$/, "a name"),
		auth_cluster_required: text({ description: "cephx or none. Default: cephx." }, /^(cephx|none)$/, "cephx or none"),
		auth_service_required: text({ description: "cephx or none. Default: cephx." }, /^(cephx|none)$/, "cephx or none"),
		auth_client_required: text({ description: "cephx or none. Default: cephx." }, /^(cephx|none)$/, "cephx or none"),
		key: secret({ description: "The user's key, as ceph auth get-key prints it." }),
		filesystem: text({ description: "Name of the filesystem, where the cluster has several." }, /^[\w.-]+$/, "a name"),
	},
	faults(mount, options) {
		const faults: Fault[] = [];
		if (folderOf(mount) === undefined) faults.push(sourceFault("expected ceph:///folder"));
		if (options.mon_host === undefined) faults.push(optionFault("mon_host", "is needed"));
		if (options.key === undefined && options.auth_client_required !== "none")
			faults.push(optionFault("key", "is needed with cephx"));
		else if (options.key !== undefined && !/^[A-Za-z0-9+/]+=*$/.test(options.key.reveal()))
			faults.push(optionFault("key", "expected base64, as ceph auth get-key prints it"));
		return faults;
	},
	command(mount, options, { mountpoint, directory }) {
		const user = options.auth_client ?? "admin";
		const settings = {
			fsid: options.fsid,
			mon_host: options.mon_host,
			auth_cluster_required: options.auth_cluster_required ?? "cephx",
			auth_service_required: options.auth_service_required ?? "cephx",
			auth_client_required: options.auth_client_required ?? "cephx",
			keyring: options.key && `${directory}/keyring`,
		};
		const lines = Object.entries(settings).flatMap(([name, value]) =>
			value === undefined ? [] : [`${name} = ${value}\n`],
		);
		return {
			file: "ceph-fuse",
			args: [
				"-f",
				`--id=${user}`,
				`--conf=${directory}/ceph.conf`,
				`--client_mountpoint=${folderOf(mount) ?? "/"}`,
				...(options.filesystem === undefined ? [] : [`--client_fs=${options.filesystem}`]),
				"-o",
				mount.readOnly ? "allow_other,ro" : "allow_other",
				mountpoint,
			],
			files: {
				"ceph.conf": `[global]\n${lines.join("")}`,
				...(options.key !== undefined && { keyring: `[client.${user}]\nkey = ${options.key.reveal()}\n` }),
			},
		};
	},
});

function folderOf({ source }: Mount): string | undefined {
	return /^ceph(?:fs)?:\/\/(\/[\w./@+=-]*)$/.exec(source)?.[1];
}
