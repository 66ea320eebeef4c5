package snapshot

// Point is a moment of a move. Tests interrupt it there.
type Point string

// Points in their order. A store without a reset of its own has the same ones.
const (
	PointStarted         Point = "started"
	PointTargetChecked   Point = "target checked"
	PointSourceOpened    Point = "source opened"
	PointSourceChecked   Point = "source checked"
	PointSourceMarked    Point = "source marked"
	PointTargetReset     Point = "target reset"
	PointTargetOpened    Point = "target opened"
	PointTargetRaised    Point = "target raised"
	PointRecordWritten   Point = "record written"
	PointFirstPage       Point = "first page copied"
	PointNextPage        Point = "next page copied"
	PointCopied          Point = "copied"
	PointVerified        Point = "verified"
	PointSourceUnchanged Point = "source unchanged"
	PointIdentityWritten Point = "identity written"
	PointRecordCopied    Point = "copy recorded"
	PointDeciding        Point = "deciding"
	PointDecided         Point = "decided"
	PointFinishing       Point = "finishing"
	PointFinished        Point = "finished"
)
