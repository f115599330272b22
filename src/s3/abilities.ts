/** What not every server can, nor every key may: what such a server does, and what is done instead, for who reads log and status. */
export const abilities = {
	checksums: "does not take CRC-32 of what is sent: it is an MD5 sum",
	conditions: "does not know If-None-Match: what must not be there is looked up before it is written",
	"conditional-reads": "does not know If-Match for reads: the version of each answer is compared",
	"conditional-deletes":
		"does not know If-Match for deletions: what was replaced since it was listed is not told apart",
	"conditional-deletes-of-directories":
		"does not compare the version of directories' objects that are to be deleted: what was replaced since it was listed is not told apart",
	"multi-delete": "does not delete many objects with one request: each has its own",
	"part-copies": "does not copy parts of objects: their bytes are sent",
	"copied-checksums": "does not say the checksums of parts that it copies: uploads are begun without",
	"copy-conditions":
		"does not compare the version that is to be copied (x-amz-copy-source-if-match): it is looked up before and after",
	"copy-conditions-of-parts":
		"does not compare the version that is to be copied, of objects that were put together (x-amz-copy-source-if-match): it is looked up before and after",
	"part-gaps":
		"does not take uploads without some part numbers: what does not change of a file is copied in small parts",
	"read-checksums":
		"does not tell the checksums of what is read (x-amz-checksum-mode): small files are not compared with them",
	"directory-metadata":
		"does not keep the metadata of directories' objects: modes, owners and times of directories are lost with the mount",
	"completed-versions":
		"does not say the version of an object that was put together, or another one than later: it is asked for",
	"listed-versions":
		"lists another version of some objects than it compares, or none: what is read or copied for the first time is asked for it",
	"storage-class": "does not take the storage class of an object that is written anew: it gets the one of new objects",
	tags: "does not take, or not from this key, the tags of an object that is written anew: it has none",
} as const satisfies Readonly<Record<string, string>>;

export type Ability = keyof typeof abilities;
