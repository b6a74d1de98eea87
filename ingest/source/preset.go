package source

import (
	"slices"
	"strings"

	"github.com/freshet-ml/freshet/schema"
)

// Formats lists what OpenFile reads: the two general formats, and the files of well-known data sets as they are published.
var Formats = []string{"csv", "jsonl", "diginetica", "globo", "movielens", "otto", "retailrocket", "taobao", "yoochoose"}

// InOrder says whether the rows of a file of the format come by time, or are taken to. The files of the data sets come by
// user or by session, or nearly by time; see Sort.
func InOrder(format string) bool { return format == "csv" || format == "jsonl" }

// layout is how the rows of a file with separated columns look.
type layout struct {
	separator string
	header    bool     // the first line names the columns, which may come in any order, among others
	columns   []string // their names; without a header in their order, and there are no others
	roles     []column // what each of them is
	action    schema.Action
	actions   map[string]schema.Action // what values of the action's column mean; others are kept
	missing   map[column]string        // what stands where there is no value
}

// presets are the layouts of the data sets whose files have separated columns. A set whose files differ has several.
//
// Sessions take the place of users where a data set has no users. Ratings are no clicks, but what else is known of the taste
// of these users: they keep their own name, which is trained as click, and their stars in the context.
var presets = map[string][]layout{
	// RetailRocket on Kaggle (retailrocket/ecommerce-dataset): events.csv, milliseconds. An event is view, addtocart or
	// transaction.
	"retailrocket": {{
		separator: ",", header: true,
		columns: []string{"timestamp", "visitorid", "event", "itemid"},
		roles:   []column{columnTime, columnUser, columnAction, columnItem},
		actions: map[string]schema.Action{"view": schema.ActionClick, "addtocart": schema.ActionCart, "transaction": schema.ActionPurchase},
	}},
	// RecSys Challenge 2015: yoochoose-clicks.dat (and -test.dat) and yoochoose-buys.dat, without a header. The time is in
	// ISO 8601; of the categories, 0 is a missing one, S a special offer.
	"yoochoose": {{
		separator: ",", action: schema.ActionClick,
		columns: []string{"session", "timestamp", "item", "category"},
		roles:   []column{columnUser, columnTime, columnItem, columnCategory},
		missing: map[column]string{columnCategory: "0"},
	}, {
		separator: ",", action: schema.ActionPurchase,
		columns: []string{"session", "timestamp", "item", "price", "quantity"},
		roles:   []column{columnUser, columnTime, columnItem, columnPrice, columnNone},
	}},
	// CIKM Cup 2016, track 2: train-item-views.csv and train-purchases.csv. timeframe is the time since the first query of
	// the session in milliseconds, eventdate the day. So a day's sessions all begin at midnight, UTC is taken: their order
	// within a day is not known. Most users are NA; a session is one.
	"diginetica": {{
		separator: ";", header: true, action: schema.ActionPurchase,
		columns: []string{"sessionId", "timeframe", "eventdate", "ordernumber", "itemId"},
		roles:   []column{columnUser, columnTime, columnDay, columnNone, columnItem},
	}, {
		separator: ";", header: true, action: schema.ActionClick,
		columns: []string{"sessionId", "itemId", "timeframe", "eventdate"},
		roles:   []column{columnUser, columnItem, columnTime, columnDay},
	}},
	// GroupLens: ratings.csv of the newer sets, ratings.dat of 1M and 10M, u.data of 100K. Seconds.
	"movielens": {{
		separator: ",", header: true, action: actionRating,
		columns: []string{"userId", "movieId", "rating", "timestamp"},
		roles:   []column{columnUser, columnItem, columnRating, columnTime},
	}, {
		separator: "::", action: actionRating,
		columns: []string{"user", "item", "rating", "timestamp"},
		roles:   []column{columnUser, columnItem, columnRating, columnTime},
	}, {
		separator: "\t", action: actionRating,
		columns: []string{"user", "item", "rating", "timestamp"},
		roles:   []column{columnUser, columnItem, columnRating, columnTime},
	}},
	// User Behavior Data from Taobao for Recommendation, on Tianchi: UserBehavior.csv, without a header. Seconds. A
	// behaviour is pv, cart, fav or buy. A few rows have times years away from the others.
	"taobao": {{
		separator: ",",
		columns:   []string{"user", "item", "category", "behavior", "timestamp"},
		roles:     []column{columnUser, columnItem, columnCategory, columnAction, columnTime},
		actions:   map[string]schema.Action{"pv": schema.ActionClick, "buy": schema.ActionPurchase},
	}},
	// News Portal User Interactions by Globo.com, on Kaggle: clicks_hour_000.csv and so on, milliseconds. Several of them
	// may be put behind one another, header and all.
	"globo": {{
		separator: ",", header: true, action: schema.ActionClick,
		columns: []string{"user_id", "session_id", "click_article_id", "click_timestamp"},
		roles:   []column{columnUser, columnSession, columnItem, columnTime},
	}},
}

const actionRating schema.Action = "rating"

// looksLike names the data set whose header this is, or "".
func looksLike(header string) string {
	for _, name := range Formats {
		for _, l := range presets[name] {
			if l.header && len(l.lacks(names(header, l.separator))) == 0 {
				return name
			}
		}
	}
	return ""
}

// lacks returns the columns that are not among names, which are in lower case.
func (l *layout) lacks(names []string) (missing []string) {
	for _, c := range l.columns {
		if !slices.Contains(names, strings.ToLower(c)) {
			missing = append(missing, c)
		}
	}
	return missing
}

// names returns the columns of a header in lower case.
func names(header, separator string) []string {
	columns, ok := split(nil, header, separator)
	if !ok {
		return nil
	}
	for i, c := range columns {
		columns[i] = strings.ToLower(strings.TrimSpace(c))
	}
	return columns
}
