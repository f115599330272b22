import { describe, expect, it } from "vitest";
import { parseMountinfo } from "../../src/mounts/mountinfo.ts";
import {
	beginnings,
	devicesAt,
	holdersOf,
	inhabitantOf,
	isSidecar,
	isToStay,
	usesOf,
	type NodeView,
	type SeenProcess,
} from "../../src/mounts/volume-use.ts";

const target = "/runtime-mnt/thin/default/demo/thin-fuse";
const own = "11111111-1111-4111-8111-111111111111";
const other = "22222222-2222-4222-8222-222222222222";
const container = "ab".repeat(32);
const place = { target, runDirectory: "/run/fluid-fuse" };

const fuse = (id: number, path: string, device = "0:57"): string =>
	`${id} 1 ${device} / ${path} rw,nosuid - fuse.thin-s3 s3://data/ rw`;
const root = "1 0 254:0 / / rw shared:1 - ext4 /dev/vda rw";
const published = `/var/lib/kubelet/pods/${other}/volumes/kubernetes.io~csi/default-demo/mount`;

function seen(process: Partial<SeenProcess> = {}): SeenProcess {
	return { pid: 7, command: "/bin/app", workingDirectory: "/", openFiles: [], pod: other, container, ...process };
}

function view(lines: readonly string[], ...namespaces: [readonly string[], ...SeenProcess[]][]): NodeView {
	return {
		pod: own,
		entries: parseMountinfo([root, ...lines].join("\n")),
		namespaces: namespaces.map(([mounts, ...processes]) => ({
			entries: parseMountinfo([root, ...mounts].join("\n")),
			processes,
		})),
	};
}

const devices = new Set(["0:57"]);

describe("uses", () => {
	it("are what a CSI plugin has bound for a pod, and layers over each other are one", () => {
		const seenNow = view([fuse(2, target), fuse(3, published), fuse(4, published)]);
		expect(usesOf(seenNow, devices, place)).toEqual([{ path: published, pod: other }]);
	});

	it("are not the target itself, what lies in it, and the driver's own mount", () => {
		const lines = [fuse(2, target), fuse(3, `${target}/one`), fuse(4, "/run/fluid-fuse/mounts/data/staging")];
		expect(usesOf(view(lines), devices, place)).toEqual([]);
	});

	it("are what another pod has at a place of its own, where CSI only links", () => {
		const seenNow = view([fuse(2, target)], [[fuse(5, "/data")], seen()]);
		expect(usesOf(seenNow, devices, place)).toEqual([{ path: "/data", pod: other, container }]);
	});

	it("are not in containers of the same pod, in programs of the node, and in what shows a whole folder of the node", () => {
		const { pod: _, ...daemon } = seen();
		const seenNow = view(
			[fuse(2, target)],
			[[fuse(5, "/data")], seen({ pod: own })],
			[[fuse(6, "/data")], daemon],
			// A monitoring agent that sees the node's root.
			[[fuse(7, `/host/root${target}`), fuse(8, `/host/root${published}`)], seen()],
		);
		expect(usesOf(seenNow, devices, place)).toEqual([]);
	});

	it("are not of other filesystems", () => {
		expect(usesOf(view([fuse(3, published, "0:99")]), devices, place)).toEqual([]);
	});
});

describe("what is mounted at the target", () => {
	it("is each filesystem there and in it, and not the node's disk that is mounted there from outside", () => {
		const lines = [
			root,
			`2 1 254:0 /runtime-mnt/thin ${target} rw shared:1 - ext4 /dev/vda rw`,
			fuse(3, target, "0:40"),
			`4 1 0:41 / ${target} ro - tmpfs thin-fuse.s3fs ro`,
			fuse(5, `${target}/one`, "0:42"),
			fuse(6, `${target}-other`, "0:43"),
		];
		expect([...devicesAt(parseMountinfo(lines.join("\n")), target)]).toEqual(["0:40", "0:41", "0:42"]);
	});
});

describe("holders", () => {
	it("are known by the mounts that their files are on, whatever lies at that path now", () => {
		const seenNow = view(
			[],
			[
				[fuse(5, "/data"), fuse(6, "/data", "0:58")],
				seen({ pid: 7, openFiles: [{ path: "/data/old", mountId: 5 }] }),
				seen({ pid: 8, openFiles: [{ path: "/data/new", mountId: 6 }] }),
			],
		);
		expect(holdersOf(seenNow, devices)).toEqual([
			{ pid: 7, command: "/bin/app", path: "/data/old", isOpen: true, pod: other, container },
		]);
	});

	it("are who runs a program of it, without having it open", () => {
		const seenNow = view([], [[fuse(5, "/data")], seen({ command: "/data/bin/train" })]);
		expect(holdersOf(seenNow, devices)).toMatchObject([{ pid: 7, path: "/data/bin/train", isOpen: true }]);
	});

	it("are told from those who only stand in it", () => {
		const seenNow = view([], [[fuse(5, "/data")], seen({ workingDirectory: "/data/folder" }), seen({ pid: 8 })]);
		expect(holdersOf(seenNow, devices)).toMatchObject([{ pid: 7, path: "/data/folder", isOpen: false }]);
	});
});

describe("layers that others begin with", () => {
	const stack = (path: string, firstId: number, from: number, to: number): string[] =>
		Array.from(
			{ length: to - from + 1 },
			(_, index) =>
				`${firstId + index} ${index === 0 ? 1 : firstId + index - 1} 0:${from + index} / ${path} rw - fuse.thin-s3 s3://data/ rw`,
		);
	const layers = parseMountinfo(stack(target, 100, 1, 20).join("\n"));
	const all = new Set(layers.map(({ device }) => device));
	const onNode = stack(target, 200, 1, 20);

	it("are the lowest of a pod's volume and of its container, which may have come later", () => {
		const [first, last] = [stack(published, 300, 3, 20), stack(`${published}2`, 400, 20, 20)];
		const seenNow = view([...onNode, ...first, ...last], [stack("/data", 500, 7, 20), seen()]);
		expect([...beginnings(seenNow, all, layers)].toSorted()).toEqual(["0:20", "0:3", "0:7"]);
	});

	it("are not what this container itself has mounted, or another has as a copy of that", () => {
		const staging = fuse(150, "/run/fluid-fuse/mounts/data/staging", "0:20");
		const seenNow = view(onNode, [[staging, ...stack(target, 100, 1, 20)], seen({ pod: own })]);
		expect([...beginnings(seenNow, all, [...layers, ...parseMountinfo(staging)])]).toEqual([]);
	});
});

it("a mount stays for those who use it; where nobody can be seen, in a storage pod but not in a sidecar", () => {
	const uses = [{ path: published }];
	expect(isToStay({ uses, isSidecar: false })).toBe(true);
	expect(isToStay({ uses: [], isSidecar: false })).toBe(false);
	expect(isToStay({ uses: undefined, isSidecar: false })).toBe(true);
	expect(isToStay({ uses: undefined, isSidecar: true })).toBe(false);
});

it("a sidecar is known by Fluid's check of the mount", () => {
	const check = "9 1 254:0 /pods/x/check-mount.sh /check-mount.sh ro - ext4 /dev/vda rw";
	expect(isSidecar(parseMountinfo(check))).toBe(true);
	expect(isSidecar(parseMountinfo(root))).toBe(false);
});

describe("who a process belongs to", () => {
	const underscores = other.replaceAll("-", "_");
	it.each([
		["cgroup v1", `4:memory:/kubepods/burstable/pod${other}/${container}`],
		[
			"cgroup v2 with systemd",
			`0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${underscores}.slice/cri-containerd-${container}.scope`,
		],
		["seen from another cgroup", `0::/../../kubepods-pod${underscores}.slice/cri-containerd-${container}.scope`],
	])("is said by %s", (_, cgroup) => {
		expect(inhabitantOf(cgroup)).toEqual({ pod: other, container });
	});

	it("is nobody outside of pods", () => {
		expect(inhabitantOf("0::/system.slice/containerd.service\n")).toEqual({});
	});
});
