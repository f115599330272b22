/** What a volume is where nobody has asked for anything else; a test says what of it matters. */
export const plainVolume = {
	folder: "",
	prefix: "",
	readOnly: false,
	uid: 0,
	gid: 0,
	directoryMode: 0o755,
	fileMode: 0o644,
	attributes: "listed",
	contentTypes: true,
	ttlMs: 60_000,
} as const;
