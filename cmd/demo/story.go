package demo

// The texts of the story. Those with verbs are given to fmt.

const (
	storyStarting = "Starting %s …"
	storyOpening  = "%d regions are up on this machine. Each has a store of its own on disk, takes writes by itself without asking anybody, and sends them to the others over QUIC, an encrypted protocol on UDP. %s You can talk to each of them with curl, as this walk does."
	storyAlone    = "One region is up on this machine, with a store of its own on disk. It is alone, so there is nobody to send its writes to. You can talk to it with curl, as this walk does."
	storyMesh     = "Each region is linked with every other one (a mesh)."
	storyRing     = "Each region is linked with its two neighbours, by name, and passes on what it hears (a ring)."
	storyStar     = "Each region is linked with %s, which passes on what it hears (a star)."
	storyPair     = "The two are linked with each other."
	storyFolder   = "The stores are in %s"
	storySkipped  = "Skipped: this act needs two regions."
	storyUp       = "✓ Up: %d regions take writes and know each other."
	storyStays    = "\nThe regions stay up. Press Ctrl-C to stop them."
	storyTry      = "To try yourself: write in one region, read in another, and see how they stand with each other."
	storyNotes    = "A note that two people edit at once, one in %s and one in %s, in the browser:"
	storyByHand   = "To cut the link between %s and %s, both ways, and to mend it:"
	storyFailed   = "Run it again with --data DIR to keep what the regions logged, or with --verbose to see it."

	claimPlayed    = "the act came to its end"
	storyTemporary = "The data is in a temporary folder that goes with the regions; what they log is in %s. To keep both, start with --data DIR."
	storyKept      = "The data stays in %s. What the regions log is in %s."
)

// Act 1.
const (
	titleWrite = "A write in one region is read in another"
	storyWrite = "Somebody near %s writes a note. That region puts it on its disk, and answers; it does not wait for anybody. Only then does it tell the others. So a write is as fast as the nearest region, wherever the others are."
	storyToken = "How does a reader elsewhere know whether the note has arrived? Every answer carries a token, which stands for all that the region knew. Sent along to any other region, it means: not older than this. That region waits until it has caught up, and then answers."
	storyTimes = "Times are medians of %d writes, HTTP included."
	storyNear  = "Here the regions are next door to each other; across the world the ways between them add 40 to 150 ms."

	claimReadBack = "what was written is read back"
	claimSameNote = "all regions show the same note"
	claimToken    = "%d reads in other regions carried a token, and every one showed the write"
)

// Act 2.
const (
	titleCut = "Links are cut, and everybody goes on"

	sceneDetour = "One link"
	storyDetour = "The link between %s and %s breaks. Both still reach somebody, and regions pass on what the others are missing, so that nobody is cut off as long as any way is left."
	claimDown   = "the link between %s and %s is down, as GET /v1/cluster says"
	claimDetour = "a write in %s was readable in %s all the same, by way of another region, %s later"

	sceneIsolate   = "All links of %s"
	storyIsolate   = "Now nothing reaches %s any more, not over the links that it has, nor over any that it might make instead. A store with one leader for all would have to refuse writes on one of the two sides. Here both go on: %[2]s and %[1]s take orders, and each keeps for the other what it has missed."
	claimAlone     = "%s is on its own"
	claimBothWrite = "%s took %d orders and %s took %d, each answered within %s"
	claimLagTold   = "%s knows that %s lacks %s, and keeps them for it"
	claimBehind    = "asked with a token for what it cannot know yet, %s says so (503) and does not show something older"
)

// Act 3.
const (
	titleEdits = "The same cart in two regions"
	storyEdits = "%s is still cut off. Now people on both sides edit the same documents, and neither side can know of the other. Nobody is locked out and nothing is refused; what is to become of such edits is a setting of each collection, its policy. The cart first, as two requests, and then all of the edits:"
	claimEdits = "all %d edits were taken at once, each within %s"
	claimApart = "for now %s and %s show different carts"
)

// Act 4.
const (
	titleHeal      = "Healing"
	storyHeal      = "The links of %s come back. Each region keeps count of what it holds of every other region's writes; those counts, side by side, are its version vector. When two regions meet they compare vectors, and each sends exactly what the other lacks: no more, and no old copies. Equal vectors mean equal data."
	claimEqual     = "all %d vectors are equal again: the regions lacked %s of each other, and caught up within %s"
	claimByteEqual = "all %d documents are the same in all regions, byte for byte"
)

// Act 5.
const (
	titleOutcome = "What became of the edits"
	storyOutcome = "No region was asked to decide and no edit was thrown away: every region worked out the same answer by itself, from the same edits."

	sceneMerged = "Policy merge: different fields of one cart"
	storyMerged = "Both sides sent the whole cart. A region finds out what an edit changed, and only that counts. So different fields do not disturb each other, and the two ship objects, made on both sides, became one."
	claimMerged = "every field that either side set is there, in all regions, without a conflict"

	sceneLists    = "Policy merge: lists"
	storyLists    = "Both sides put two things after the tea, and both moved the soap. What one side put together stays together, and one soap stays one soap, at one of the two places."
	claimInserted = "all four things are there, each side's two next to each other"
	claimMoved    = "the soap is there once"

	sceneCounted = "Policy merge: counters"
	storyCounted = "Every region counted %d likes at the same time. Increments are added up; they do not overwrite each other."
	claimCounted = "%d regions times %d likes make %d"

	sceneUndeleted = "Policy merge: a deletion against an edit"
	storyUndeleted = "%s deleted the cart while %s edited it. Whoever edited it wanted it, so the edit wins: the cart is back, whole, and not as a torso of what was edited. The deletion stays on record as a conflict. (A collection can be set to let deletions win.)"
	claimUndeleted = "the cart is back in all regions, with all that was in it"

	sceneLastWrite   = "Policy lww: the last write wins"
	storyLastWrite   = "Both sides set another price, and a price is one value. The later write is shown; the other one is not gone but kept beside it, until somebody writes who has seen both."
	claimOneValue    = "all regions show one and the same price"
	claimLoserListed = "the right version is shown, and the other one is listed with the reason"
	storyWhy         = "In %s's words: %q"

	scenePriority = "Policy region-priority: somebody has the last word"
	storyPriority = "This collection says that %s decides before %s, whoever wrote later."
	claimPriority = "all regions show what %s wrote, though the other write was later"

	sceneSiblings = "Policy siblings: the application decides"
	storySiblings = "Here the store does not choose. A client that asks for it gets both versions (status 300), and one ETag that names them both."
	claimSiblings = "every region offers both versions, under the same ETag"
	storyResolve  = "Somebody near %s looks at both and writes an answer, with that ETag: it takes the place of exactly what was seen."
	claimResolved = "one version is left, in all regions"

	sceneUndo     = "The conflict log: see it, ask what if, take it back"
	storyUndo     = "Each region keeps a log of what was written concurrently, also where the policy has settled it. The price, for one: it is the same conflict, under the same id, in every region, with all that there is to know."
	claimLogged   = "all regions have the conflict about the price in their logs, under one id"
	storyLogged   = "In %s's words: %s"
	storyPreview  = "What if %s had the last word here? The answer is a patch of what is there now; nothing is written."
	claimPreview  = "under that policy the other price would be shown, and asking has changed nothing"
	storyRestore  = "The price that was not shown was the right one. It is written back, a change like any other, over both."
	claimRestored = "%s's price is back in all regions, and every log says that it was brought back"
)

// Act 6.
const (
	titlePolicies = "The same cart under every policy"
	storyPolicies = "While they were apart, %s made the basket %s, and %s made it %s. Both are in every region, side by side. Which one is shown is the policy's affair, and the policy can be changed whenever you like: it writes nothing, so nothing has to be undone."

	sceneInTurn  = "Each policy in turn"
	storyInTurn  = "The collection's policy is changed four times, and in the end it is what it was."
	claimInTurn  = "under each policy all regions show the same, and give the same reason"
	claimDigests = "all the while the digest of the collection is %s, in all regions: what is stored does not depend on the policy"

	sceneAsked   = "Policy callback: the application is asked"
	storyAsked   = "Sometimes only the application knows. Here it is an HTTP server that this walk has started. One region asks it, with both versions and a signature, and writes the answer over them. Until then the newest would be shown, marked as pending."
	claimAsked   = "all regions show what the application said, and nothing is in conflict any more"
	claimArbiter = "%s, the first by name, has asked, and its log has each step"

	sceneBroughtBack = "A loser is brought back"
	storyBroughtBack = "That was one bag too many. The policy becomes lww again, and %s's basket is taken out of the conflict log and written back."
	claimBroughtBack = "%s's basket is in all regions, with one digest"
)

// Act 7.
const (
	titleCare = "Nothing by halves, nothing unseen, nothing lost"

	sceneBatch   = "A batch is all or nothing"
	storyBatch   = "Ana sends Ben 5 EUR: two documents, one change. Another device of hers still goes by her account as it was before, and says so; what it sends is refused whole (412), so that Ben gets nothing of it either. Then she sends %d times %d EUR more, while both accounts are watched in %s."
	claimRefused = "the outdated batch was refused, and Ben has got 5 EUR and not 10"
	claimWhole   = "%s was asked %d times meanwhile, and every time the two accounts added up to %d EUR"

	claimTransferred = "all regions agree: Ana has 0 EUR, Ben has %d"

	sceneMatch = "If-Match: do not overwrite what you have not seen"
	storyMatch = "Two people read the cart and both want to change its note. Each sends along the ETag of what they read. The first one gets through; the second is told (412) that the cart is another by now."
	claimMatch = "the second write was refused and changed nothing"

	sceneOffline = "Meridian-Base: an edit made offline, by plain HTTP"
	storyOffline = "A phone reads a cart in %s and loses its connection. Meanwhile somebody removes the note, and the gift wrap. Hours later the phone sends the cart that it knew, with a phone number added, and names the version that it started from. The region finds out what the phone changed, and merges that."
	claimOffline = "the number is in the cart, and what was removed meanwhile stays removed"
)
