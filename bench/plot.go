package main

import (
	"bytes"
	"cmp"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

func (b *bench) plots(dir string, rows []row) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, r := range rows {
		for _, t := range r.tables {
			if t.plot == "" || len(b.subjects(r.name, t)) == 0 {
				continue
			}
			draw := b.bars
			if t.lines {
				draw = b.lines
			}
			if err := draw(filepath.Join(dir, t.plot+".svg"), r, t); err != nil {
				return fmt.Errorf("plot %s: %w", t.plot, err)
			}
		}
	}
	return nil
}

// bars draws a table: a group of bars for each subject, one for each peer.
func (b *bench) bars(path string, r row, t table) error {
	subjects, peers := b.subjects(r.name, t), b.columns(r.name, t)
	axis := b.axis(r, t)
	p := blank(r, t)
	const forAll = 420 // points, for bars and the space between groups
	width := vg.Points(min(16, forAll/float64(len(subjects)*(len(peers)+1))))
	for i, peer := range peers {
		heights := make(plotter.Values, len(subjects))
		for j, subject := range subjects {
			heights[j] = axis.height(b.figure(r.name, subject, peer, t.metric).median())
		}
		bar, err := plotter.NewBarChart(heights, width)
		if err != nil {
			return err
		}
		bar.Color = find(peer).color
		bar.LineStyle.Width = 0
		bar.Offset = width * vg.Length(float64(i)-float64(len(peers)-1)/2)
		p.Add(bar)
		p.Legend.Add(peer, bar)
	}

	if t.log {
		p.Y.Tick.Marker = axis
	}
	p.NominalX(subjects...)
	p.X.Tick.Label.Rotation = math.Pi / 8
	p.X.Tick.Label.XAlign = -1
	p.X.Min, p.X.Max = -0.6, 1.3*float64(len(subjects))-0.4 // the rest is for the legend
	p.Y.Min = 0
	return save(p, path)
}

// lines draws a table as growth: a line for each peer over the numbers that its
// subjects begin with, each tenfold as wide as the next.
func (b *bench) lines(path string, r row, t table) error {
	y, p := b.axis(r, t), blank(r, t)
	least, most := math.Inf(1), math.Inf(-1)
	for _, peer := range b.columns(r.name, t) {
		var points plotter.XYs
		for _, subject := range b.subjects(r.name, t) {
			if x := b.figure(r.name, subject, peer, t.metric).median(); x > 0 {
				points = append(points, plotter.XY{X: math.Log10(leadingNumber(subject)), Y: y.height(x)})
			}
		}
		if points == nil {
			continue
		}
		slices.SortFunc(points, func(a, b plotter.XY) int { return cmp.Compare(a.X, b.X) })
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return err
		}
		line.Color, dots.Color = find(peer).color, find(peer).color
		line.Width, dots.Radius = vg.Points(1.5), vg.Points(2)
		p.Add(line, dots)
		p.Legend.Add(peer, line)
		least, most = min(least, points[0].X), max(most, points[len(points)-1].X)
	}

	if t.log {
		p.Y.Tick.Marker = y
	}
	p.X.Tick.Marker = axis{}                         // of the exponents
	p.X.Min, p.X.Max = least, least+1.3*(most-least) // the rest is for the legend
	p.Y.Min = 0
	return save(p, path)
}

// leadingNumber is what a subject of a growth begins with, such as "100 connections".
func leadingNumber(subject string) float64 {
	n, _ := strconv.ParseFloat(strings.Fields(subject)[0], 64)
	return n
}

func blank(r row, t table) *plot.Plot {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	p := plot.New()
	p.Title.Text = fmt.Sprintf("%s: %s", r.title, t.title)
	p.Y.Label.Text = t.unit
	p.Legend.Top, p.Legend.Left = true, true // icons before the text, so that a wider font does no harm
	p.Legend.XOffs, p.Legend.ThumbnailWidth = vg.Points(490), vg.Points(10)
	p.Legend.TextStyle.Font.Size = 10
	p.BackgroundColor = color.White
	return p
}

// save names the fonts that stand in for the one that gonum writes with, and have the same widths.
func save(p *plot.Plot, path string) error {
	svg, err := p.WriterTo(24*vg.Centimeter, 11*vg.Centimeter, "svg")
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if _, err := svg.WriteTo(&text); err != nil {
		return err
	}
	fonts := bytes.ReplaceAll(text.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;"))
	return os.WriteFile(path, fonts, 0o644)
}

// axis turns figures into heights. A logarithmic one counts tenfolds from one below the least up, for bars to stand on.
type axis struct {
	log   bool
	least float64 // its exponent
}

func (b *bench) axis(r row, t table) axis {
	least := math.Inf(1)
	for _, res := range b.results {
		if x := res.median(); res.row == r.name && res.metric == t.metric && x > 0 {
			least = min(least, x)
		}
	}
	return axis{t.log, math.Floor(math.Log10(least))}
}

func (a axis) height(x float64) float64 {
	switch {
	case math.IsNaN(x), a.log && x <= 0:
		return 0
	case a.log:
		return math.Log10(x) - a.least
	}
	return x
}

// Ticks labels a logarithmic axis.
func (a axis) Ticks(lo, hi float64) []plot.Tick {
	var ticks []plot.Tick
	for e := math.Ceil(lo); e <= hi; e++ {
		ticks = append(ticks, plot.Tick{Value: e, Label: number(math.Pow(10, e+a.least))})
	}
	return ticks
}
