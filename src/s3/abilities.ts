/** What not every server can, nor every key may. */
export type Ability =
	/** CRC-32 of what is sent: else it is an MD5 sum. */
	| "checksums"
	/** Writing only what is not there: else it is looked up before. */
	| "conditions"
	/** Reading only a certain version: else the answer's is compared. */
	| "conditional-reads"
	/** Deleting only a certain version. */
	| "conditional-deletes"
	/** Many keys in one request. */
	| "multi-delete"
	/** Copying parts of objects: else their bytes are sent. */
	| "part-copies"
	/** An object keeps its storage class: else it gets the one of new objects. */
	| "storage-class"
	/** An object keeps its tags: else it has none. */
	| "tags";
